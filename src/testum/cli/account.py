"""`testum login`, `logout`, `whoami`."""

import os
import sys
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import typer

from testum.cli.failures import Failure, WrongUse
from testum.cli.options import Json, Url, print_fields, print_json

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]


def login(
    url: Url = None,
    username: Annotated[
        str | None, typer.Option("--username", "-u", metavar="USER", help="Asked for if not given.")
    ] = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Log in, and keep the login for later commands.

    The password is asked for; it may also come from stdin or TESTUM_PASSWORD.
    """
    from testum.cli.api import Api

    with Api(url) as api:
        _warn_of_plain_http(api.session.url)
        name = username or ask("Username", f"for {api.session.url}")
        password = read_secret("Password", from_stdin=password_stdin, variable="TESTUM_PASSWORD")
        answer = api.post_anonymous("/auth/login", {"username": name, "password": password})
        api.session.keep(answer)
    print(f"Logged in at {api.session.url} as {answer['user']['username']} ({answer['user']['role']}).")
    if answer["user"].get("must_change_password"):
        print("The password must be changed before anything else: testum passwd")


def logout(url: Url = None) -> None:
    """End the login, here and at the server."""
    from testum.cli.api import Api

    with Api(url) as api:
        refresh_token = api.session.refresh_token
        try:
            if refresh_token:
                api.post("/auth/logout", {"refresh_token": refresh_token})
        except Failure as failure:
            # Whatever the server says, this machine must not keep the login.
            print(f"testum: the server was not told: {failure.message}", file=sys.stderr)
        known = api.session.forget()
    print(f"Logged out of {api.session.url}." if known else f"There was no login at {api.session.url}.")


def whoami(url: Url = None, as_json: Json = False) -> None:
    """Show who is logged in, where, and in which role."""
    from testum.cli.api import Api

    with Api(url) as api:
        me = api.get("/auth/me")
    if as_json:
        print_json(me)
    else:
        print_fields(me | {"server": api.session.url}, ("username", "role", "server"))


def passwd(url: Url = None) -> None:
    """Change the password. Both the old and the new one are asked for."""
    from testum.cli.api import Api

    with Api(url) as api:
        current = read_secret("Current password", variable="TESTUM_PASSWORD")
        new = read_secret("New password")
        if read_secret("New password again") != new:
            raise WrongUse("The two new passwords differ; nothing is changed.")
        answer = api.post("/auth/change-password", {"current_password": current, "new_password": new})
        if isinstance(answer, dict) and "access_token" in answer:
            # A changed password ends all logins; the answer holds this one's successor.
            api.session.keep(answer)
    print("The password is changed.")


def read_secret(prompt: str, *, from_stdin: bool = False, variable: str = "") -> str:
    """A secret from stdin, from the environment, or typed unseen. Raises WrongUse if none is to be had."""
    if from_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise WrongUse(f"{prompt}: nothing came on stdin.")
        return secret
    if variable and os.environ.get(variable):
        return os.environ[variable]
    if not sys.stdin.isatty():
        way = f" or set {variable}" if variable else ""
        raise WrongUse(f"{prompt}: not a terminal to ask on. Use --password-stdin{way}.")
    from getpass import getpass

    secret = getpass(f"{prompt}: ")
    if not secret:
        raise WrongUse(f"{prompt}: nothing was typed.")
    return secret


def ask(prompt: str, hint: str) -> str:
    """A line typed at the terminal. Raises WrongUse without one."""
    if not sys.stdin.isatty():
        raise WrongUse(f"--{prompt.lower()} is missing.")
    answer = input(f"{prompt} {hint}: ").strip()
    if not answer:
        raise WrongUse(f"{prompt}: nothing was typed.")
    return answer


def _warn_of_plain_http(url: str) -> None:
    parts = urlsplit(url)
    try:
        local = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = parts.hostname == "localhost"
    if parts.scheme == "http" and not local:
        print(
            f"testum: {url} is not encrypted: others on the network can read the password.", file=sys.stderr
        )
