"""`python -m testum` is the same as `testum`."""

from testum.cli.main import main

main()
