"""The program `testum`, which `python -m testum` is, too."""

import signal


def main() -> None:
    """Run the command line. Ctrl-C while its modules are still being imported ends the program at once and silently:
    nothing has begun that anything could be said of."""
    # What was ignored when we were started (nohup) stays so.
    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from testum.cli.main import main as run
    from testum.features import FEATURES

    if listens:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run(FEATURES)


if __name__ == "__main__":
    main()
