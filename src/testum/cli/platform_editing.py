"""`testum platforms add` and `edit`: how a host is reached and logged in to."""

import sys
from typing import Annotated, Any

import typer

from testum.cli.account import PasswordStdin, read_secret
from testum.cli.addresses import split_address
from testum.cli.failures import WrongUse
from testum.cli.keyfiles import key_fields
from testum.cli.options import Json, Url, print_json
from testum.cli.platform_options import AskPassword, KeyFile, KeyName, Reference, Tags

OldAlgorithm = Annotated[
    list[str] | None,
    typer.Option(
        "--old-algorithm",
        metavar="NAME",
        help="Allow an old algorithm, for a host that knows no better one; may be repeated. Empty: none.",
    ),
]


def _old(names: list[str] | None) -> dict[str, Any]:
    """The old algorithms as the API takes them; a warning where there are some."""
    if names is None:
        return {}
    allowed = [name for name in names if name]
    if allowed:
        print(
            f"testum: {', '.join(allowed)}: who listens may break this, and read what is sent, passwords too.",
            file=sys.stderr,
        )
    return {"old_algorithms": allowed}


def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    host: Annotated[str, typer.Argument(metavar="[USER@]HOST[:PORT]")],
    username: Annotated[
        str | None, typer.Option("--username", "-u", metavar="USER", help="If not given with the host.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", metavar="PORT", min=1, max=65535)] = None,
    key_file: KeyFile = None,
    key: KeyName = None,
    password_stdin: PasswordStdin = False,
    and_password: Annotated[
        bool,
        typer.Option(
            "--and-password",
            help="With a key: the host asks for a password, too (two steps). It is asked for.",
        ),
    ] = False,
    tag: Tags = None,
    description: Annotated[str, typer.Option(metavar="TEXT")] = "",
    zone: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network zone whose workers reach it.")
    ] = None,
    jump: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Reach it through this platform.")
    ] = None,
    old_algorithm: OldAlgorithm = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Add a platform. Without --key-file and --key its password is asked for."""
    from testum.cli.api import Api, find

    by_key = key_file is not None or key is not None
    if (key_file and key) or (by_key and password_stdin and not and_password):
        raise WrongUse(
            "Give one of --key-file, --key and --password-stdin; for a login in two steps, a key with --and-password."
        )
    if and_password and not by_key:
        raise WrongUse("--and-password goes with --key-file or --key.")
    user, address, given_port = split_address(host)
    if (port and given_port and port != given_port) or (username and user and username != user):
        raise WrongUse(f"{host} and the options contradict each other.")
    body: dict[str, Any] = {
        "name": name, "host": address, "port": port or given_port or 22,
        "username": username or user, "tags": tag or [], "description": description,
    }  # fmt: skip
    if not body["username"]:
        raise WrongUse(f"Log in as whom? Write user@{address}, or give --username.")
    if zone:
        body["zone"] = zone
    body |= _old(old_algorithm)
    with Api(url) as api:
        if jump:
            body["jump_platform_id"] = find(api, "platforms", jump)["id"]
        if key:
            body |= {"auth_method": "private_key", "key_id": find(api, "keys", key)["id"]}
        elif key_file:
            body |= {"auth_method": "private_key", **key_fields(key_file)}
        if not by_key or and_password:
            secret = read_secret(f"Password of {body['username']}@{address}", from_stdin=password_stdin)
            body |= {"auth_method": "key_and_password" if by_key else "password", "password": secret}
        platform = api.post("/platforms/", body)
    if as_json:
        print_json(platform)
    else:
        print(f"Added {platform['name']} ({platform['id']}).")


def edit(
    platform: Reference,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Another name.")] = None,
    host: Annotated[str | None, typer.Option(metavar="[USER@]HOST[:PORT]", help="Another address.")] = None,
    username: Annotated[str | None, typer.Option("--username", "-u", metavar="USER")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", metavar="PORT", min=1, max=65535)] = None,
    key_file: KeyFile = None,
    key: KeyName = None,
    ask_password: AskPassword = False,
    password_stdin: PasswordStdin = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="Add this tag; may be repeated.")
    ] = None,
    untag: Annotated[
        list[str] | None, typer.Option("--untag", metavar="TAG", help="Take this tag off; may be repeated.")
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT")] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network zone whose workers reach it.")
    ] = None,
    jump: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Reach it through this platform.")
    ] = None,
    no_jump: Annotated[bool, typer.Option("--no-jump", help="Reach it directly.")] = False,
    old_algorithm: OldAlgorithm = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Change a platform. What is not named stays as it is."""
    from testum.cli.api import Api, find

    if sum((key_file is not None, key is not None, ask_password or password_stdin)) > 1:
        raise WrongUse("Give one of --key-file, --key and a password.")
    if jump and no_jump:
        raise WrongUse("--jump and --no-jump contradict each other.")
    body: dict[str, Any] = {}
    if host is not None:
        user, body["host"], given_port = split_address(host)
        if (port and given_port and port != given_port) or (username and user and username != user):
            raise WrongUse(f"{host} and the options contradict each other.")
        username, port = username or user or None, port or given_port
    said = {"name": name, "username": username, "port": port, "description": description, "zone": zone}
    body |= {field: value for field, value in said.items() if value is not None}
    body |= _old(old_algorithm)
    with Api(url) as api:
        item = find(api, "platforms", platform)
        if tag or untag:
            body["tags"] = [
                each for each in dict.fromkeys([*item["tags"], *(tag or [])]) if each not in (untag or [])
            ]
        if jump or no_jump:
            body["jump_platform_id"] = find(api, "platforms", jump)["id"] if jump else None
        both = item["auth_method"] == "key_and_password"
        if key or key_file:
            body["auth_method"] = "key_and_password" if both else "private_key"
            body |= {"key_id": find(api, "keys", key)["id"]} if key else {"key_id": None}
            body |= key_fields(key_file) if key_file else {}
        elif ask_password or password_stdin:
            secret = read_secret(f"Password for {item['name']}", from_stdin=password_stdin)
            body |= {"auth_method": "key_and_password" if both else "password", "password": secret}
        if not body:
            raise WrongUse("What is to be changed? testum platforms edit --help lists it.")
        changed = api.patch(f"/platforms/{item['id']}", body)
    if as_json:
        print_json(changed)
    else:
        print(f"Changed {changed['name']} ({', '.join(sorted(body))}).")
