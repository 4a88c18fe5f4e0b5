"""The `testum` command: the server's start-up and a client of its API."""
