"""`testum demo`: the server, with six SSH hosts on this machine already added."""

from testum.demo.application import create_app

__all__ = ["create_app"]
