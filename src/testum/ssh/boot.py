"""The remote beginnings of programs, whose text and settings come over stdin.

What sshd gives the login shell is one line that all of them read alike: sh, bash, dash, busybox ash, ksh, mksh, zsh,
rbash go on in it, csh, tcsh and fish hand over to /bin/sh. Only csh and tcsh take `:q` after a variable for a modifier
without taking `[1]` for an index (zsh takes both), and only fish takes the first element of a variable that has one for
all of it. What follows is a single-quoted word without newline, backslash or exclamation mark, which mean something to
those.

Start-up files come before: they may print, read from stdin or put another shell in this one's place. So stdin begins with
lines that end whatever runs them, which may be eaten, and the program proves by a mark on stdout that all of it arrived
and begins now. The mark is a sum: who only repeats the line does not print it. With it comes the shell's process id, by which
it is found when it has put something without a mark in its own place.

The exec request alone begins nothing: the shell waits on stdin for the line with the nonce. Where testum was killed before
that line, or before the rest, the shell reads the end of stdin, and nobody takes what it prints: then a process stays for
LINGER seconds whose environment says that nothing was run (docs/decisions/0028).

`read` is a builtin and takes no byte too many from a pipe (POSIX, read), but one by one; `cat` takes the rest. Secrets are
never arguments of a command that may not be a builtin: printf is none in mksh and OpenBSD's sh. The pieces stand on one
line where they can, so that the line numbers in a shell's messages are the program's.
"""

LINE = (
    'test "$SHELL:q[1]" = "$SHELL[1]" && exec /bin/sh -c @IT@ ; '
    'test "$SHELL[1]" = "$SHELL" && exec /bin/sh -c @IT@ ; eval @IT@'
)
"""The exec request. @IT@ is a quoted beginning."""

HEADER = b"exit 255;a=1\n" * 3
"""Goes first over stdin, before the line with the nonce: nothing is run by a shell that was put in place of ours. fish reads
all before it runs anything, and prints the line that it cannot read: this one, and none with secrets."""

STOP = "exit 255\n" * 2
"""Goes in a program's place over a connection that stands: the shell ends at once."""

LINGER = 600
"""So many seconds a process says that nothing was run."""

_STAY = f"TESTUM_NOT_RUN=@ATTEMPT@-$TESTUM_TASK TESTUM_TASK= sleep {LINGER} </dev/null >/dev/null 2>&1 &"


def _nothing_arrived(why: str) -> str:
    return f'{{ @PAUSE@echo "testum: {why} Nothing was run." >&2@OR_STAY@; exit 255; }}'


def for_attempt(begin: str, attempt: str) -> str:
    """A beginning that leaves word, where nobody listens any more, that this attempt ran nothing. Empty: nobody will ask."""
    # Both ends of a connection that is gone are closed at nearly the same time. What stays does so beside the shell: a
    # testum that lives, though nobody takes the errors, waits for the shell's end.
    pause, stay = ('trap "" PIPE; sleep 1 || :; ', f" || {{ {_STAY} }}") if attempt else ("", "")
    return begin.replace("@PAUSE@", pause).replace("@OR_STAY@", stay).replace("@ATTEMPT@", attempt)


_NO_PROGRAM = "the program did not arrive; a start-up file of this account may read it."
_NO_SETTINGS = "the environment or the arguments cannot be set in this account."
_NO_OUTPUT = "a start-up file of this account sends the output elsewhere."

# The line after the nonce is read last. Without its newline a line was cut, and nothing is run.
_FIND_NONCE = (
    'TESTUM_IN=; until [ "$TESTUM_IN" = "@NONCE@" ]; do IFS= read -r TESTUM_IN || break; done; '
    '[ "$TESTUM_IN" = "@NONCE@" ] && IFS= read -r TESTUM_IN'
)
# A start-up file may let the shell print what it does; settings may be secret.
_QUIET = "set +vx; "
_BEGIN = f"{_QUIET}TESTUM_TASK=@MARKER@; export TESTUM_TASK; "

SETTINGS_DONE = 'TESTUM_SET="@NONCE@$#"'
"""Ends the settings, of which each is done only after the one before."""

# A shell goes on after a name that it does not let be set (readonly), and leaves the rest of the line. A function of the
# account's in eval's place has arguments of its own, also for what is set there.
_SET = 'TESTUM_SET=; eval "$TESTUM_IN"; [ "$TESTUM_SET" = "@NONCE@$#" ]'

# The SSH server gives a program a pipe or a socket; each look at it costs the host time. echo is a builtin of every shell;
# zsh's does not tell of a closed stdout. Where the connection is gone by now, SIGPIPE would end the shell before it can leave
# word (_STAY). A trap for it that a start-up file has set is lost: to read it takes a process more for each program.
_PROVE = (
    "if [ ! -p /dev/fd/1 ] && { [ -c /dev/fd/1 ] || [ -f /dev/fd/1 ]; }; then false; "
    'else trap "" PIPE; true >&1 && echo "testum-$((@SUM@)) $$" && trap - PIPE; fi'
)

COMMAND = (
    # It goes out three times in each request: so what is done where something is missing stands here once.
    f'{_BEGIN}TESTUM_TEXT=; TESTUM_WHY="{_NO_PROGRAM}"; '
    f"{{ {_FIND_NONCE} && IFS= read -r TESTUM_TEXT && exec </dev/null; }} && "
    f'{{ TESTUM_WHY="{_NO_SETTINGS}"; {_SET}; }} && {{ TESTUM_WHY="{_NO_OUTPUT}"; {_PROVE}; }} || '
    # `exit` keeps the shell from replacing itself by the last command; it passes on the status. A trap would do so, too, but
    # take the place of the account's own, and bash 5.2 loses the status of what is at work when a pipeline's part fails.
    f"{_nothing_arrived('$TESTUM_WHY')}; "
    'eval "unset TESTUM_IN TESTUM_SET TESTUM_TEXT TESTUM_WHY; $TESTUM_TEXT"; exit'
)
"""The beginning of a command: its settings are the line after the nonce, its text is the next. Its stdin is empty."""

SCRIPT = f'{_BEGIN}{_FIND_NONCE} || {_nothing_arrived(_NO_PROGRAM)}; eval "$TESTUM_IN"'
"""The beginning of a script. The line after the nonce starts its interpreter, which takes the rest."""

# A newline that survives $(...), which strips those at the end.
NEWLINE = 'TESTUM_NL=$(echo; echo .) && TESTUM_NL=${TESTUM_NL%.} && [ "${#TESTUM_NL}" = 1 ] && '

# The interpreter may be a shell that runs the start-up files again, so the nonce comes again, too. `cat` may be an alias, a
# function or a program of the account: whatever it is must give the text's length, which some shells count in characters.
_READ_PROGRAM = (
    f"{_QUIET}TESTUM_TEXT=; {_FIND_NONCE} && TESTUM_TEXT=$(\\command cat); "
    '( LC_ALL=C; case ${#TESTUM_TEXT} in @LENGTHS@) ;; *) exit 1 ;; esac; case $TESTUM_TEXT in *"@END@") ;; *) exit 1 ;; esac ) || '
    + _nothing_arrived("the script did not arrive whole.")
    + '; TESTUM_TEXT=${TESTUM_TEXT%"@END@"}; '
)

_SET_AND_PROVE = f"{_SET} || {_nothing_arrived(_NO_SETTINGS)}; {_PROVE} || {_nothing_arrived(_NO_OUTPUT)}; "

RUN_IN_SHELL = (
    f"{_READ_PROGRAM}exec </dev/null; {_SET_AND_PROVE}"
    'eval "unset TESTUM_IN TESTUM_SET TESTUM_TEXT TESTUM_NL; @OPTIONS@ $TESTUM_TEXT"; exit'
)
"""For a shell's -c: the script is run by the shell itself. @END@ is its trailer, @OPTIONS@ a `set ...;`."""

RUN_ON_STDIN = (
    f"{_READ_PROGRAM}{_SET_AND_PROVE}\n"
    "case $(command -v printf) in\n"
    # A here-document works anywhere, but some shells need room in /tmp for it.
    '*/*) "$@" <<TESTUM_EOF\n'
    "$TESTUM_TEXT\n"
    "TESTUM_EOF\n"
    ";;\n"
    '*) printf %s "$TESTUM_TEXT" | "$@" ;;\n'
    "esac; exit"
)
"""For sh -c: the script goes to the stdin of the interpreter in `$@`."""
