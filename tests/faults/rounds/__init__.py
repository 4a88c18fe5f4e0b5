"""Rounds of random faults in a whole installation: `embedded` is one server, `servers` two web processes and three workers on
a PostgreSQL, a Redis and an S3 server of their own.

`python -m tests.faults.rounds --rounds 50 --seed 1` runs fifty in both modes, some at once, each installation in a network
and a mount namespace of its own, and prints each round's seed; `--rounds 1 --seed N --mode M` runs one again. What kind of
fault a round makes follows from its seed, unless `--kind` names one. Needs root.

A round (one.py) starts a job on many platforms, watches it, makes one fault in its midst (kinds.py), goes on asking for
things meanwhile (people.py), and ends the fault. Then it checks (checks.py):

- every task that a fault caught ends in time after the fault, and so does the job once what it has left to do is done;
- no command ran twice, and each that is called a success ran: by counter files on the host;
- no process of an ended task lives without the task saying so;
- what is still open then is known within two minutes, and what never ran is not called lost;
- every message that a watcher was shown is there later, the same, and every frame of the output once;
- every request that was acknowledged has been done.
"""
