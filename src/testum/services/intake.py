"""Whether new work is taken: not any more once the process that does it stops."""

from testum.errors import Stopping


class Intake:
    """Open from the start; once closed it stays so."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """Take no more."""
        self.closed = True

    def check(self) -> None:
        """Raise Stopping where nothing more is taken. What is stored already is not asked for anew."""
        if self.closed:
            raise Stopping(
                "testum is stopping and starts nothing more on hosts. Try again when it has been started again."
            )
