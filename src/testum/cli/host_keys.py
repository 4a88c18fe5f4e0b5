"""`testum platforms test` and `accept-key`: the key that a host shows, and whether it is trusted."""

import sys
from typing import Annotated, Any

import typer

from testum.cli.account import PasswordStdin, ask, read_secret
from testum.cli.addresses import address_of
from testum.cli.failures import OK, SOME_FAILED, Failure, WrongUse
from testum.cli.keyfiles import key_fields
from testum.cli.lines import harmless_name
from testum.cli.options import Json, Url, print_json
from testum.cli.platform_options import AskPassword, KeyFile, Reference


def test(platform: Reference, url: Url = None, as_json: Json = False) -> None:
    """Connect to a platform and log in, and say what came of it. No command is run.

    Exit status: 0 it logged in, 1 it did not.
    """
    from testum.cli.api import Api, find

    with Api(url) as api:
        item = find(api, "platforms", platform)
        came = api.post(f"/platforms/{item['id']}/test", {})
    if as_json:
        print_json(came)
    elif came["success"]:
        print(f"{item['name']}: logged in as {address_of(item)} in {came['latency_ms']:.0f} ms.")
    else:
        print(f"{item['name']}: {harmless_name(came['error_message'] or came['error_code'])}")
    if not as_json and came["host_key"]:
        print(f"Host key: {_key_line(came['host_key'])}")
    raise typer.Exit(OK if came["success"] else SOME_FAILED)


def accept_key(
    platform: Reference,
    fingerprint: Annotated[
        str | None,
        typer.Option(metavar="SHA256:...", help="Only if the host shows this key. Without it you are asked."),
    ] = None,
    key_file: KeyFile = None,
    ask_password: AskPassword = False,
    password_stdin: PasswordStdin = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Trust the host key that a platform's host shows now, in the place of those that are trusted.

    Compare it with what the host itself says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

    A password or private key that was stored for another host key goes nowhere: give it again.
    """
    from testum.cli.api import Api, find

    with Api(url) as api:
        item = find(api, "platforms", platform)
        came = api.post(f"/platforms/{item['id']}/test", {})
        shown = came["host_key"]
        if shown is None:
            raise Failure(f"{item['name']} showed no host key: {came['error_message'] or came['error_code']}")
        if fingerprint is not None and fingerprint != shown["fingerprint"]:
            raise Failure(f"{item['name']} shows another key, which is not accepted: {_key_line(shown)}")
        if shown["trust"] != "trusted":
            if fingerprint is None:
                if not sys.stdin.isatty():
                    raise WrongUse(f"{_key_line(shown)}: nobody can be asked here. Give --fingerprint.")
                print(f"Trusted until now: {item['known_host_fingerprint'] or 'no key'}")
                print(f"It shows now: {_key_line(shown)}")
                if ask("Trust it?", "[yes/no]").lower() != "yes":
                    raise Failure("Nothing is changed.")
            secrets = key_fields(key_file) if key_file else {}
            if ask_password or password_stdin:
                secrets["password"] = read_secret(f"Password for {item['name']}", from_stdin=password_stdin)
            item = api.patch(f"/platforms/{item['id']}", {"known_host_key": shown["public_key"], **secrets})
    if as_json:
        print_json(item)
    else:
        print(f"{item['name']} is trusted by {_key_line(shown | {'trust': 'trusted'})}.")


def _key_line(key: dict[str, Any]) -> str:
    """A host key that was shown, and whether it is trusted."""
    trust = {"trusted": "trusted", "new": "no key is trusted yet", "other": "not the one that is trusted"}
    return f"{key['algorithm']} {key['fingerprint']} ({trust[key['trust']]})"
