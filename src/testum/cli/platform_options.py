"""Arguments and options that several commands of `testum platforms` share."""

from pathlib import Path
from typing import Annotated

import typer

Reference = Annotated[str, typer.Argument(metavar="NAME|ID")]
KeyName = Annotated[str | None, typer.Option("--key", metavar="NAME|ID", help="Log in with this stored key.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", "-i", metavar="FILE", help="Log in with this private key.")
]
AskPassword = Annotated[bool, typer.Option("--ask-password", help="Ask for a password, and log in with it.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")]
