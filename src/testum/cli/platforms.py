"""`testum platforms`: the hosts that jobs run on."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from testum.cli.account import PasswordStdin, ask, read_secret
from testum.cli.failures import OK, SOME_FAILED, Failure, WrongUse
from testum.cli.lines import harmless_name
from testum.cli.options import Json, Url, print_fields, print_json, print_table
from testum.core.inventory import split_hop

platforms = typer.Typer(
    help="Add, list, show, edit, test, remove and import platforms.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Reference = Annotated[str, typer.Argument(metavar="NAME|ID")]
KeyName = Annotated[str | None, typer.Option("--key", metavar="NAME|ID", help="Log in with this stored key.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", "-i", metavar="FILE", help="Log in with this private key.")
]
AskPassword = Annotated[bool, typer.Option("--ask-password", help="Ask for a password, and log in with it.")]
OldAlgorithm = Annotated[
    list[str] | None,
    typer.Option(
        "--old-algorithm",
        metavar="NAME",
        help="Allow an old algorithm, for a host that knows no better one; may be repeated. Empty: none.",
    ),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")]


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


@platforms.command()
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
            body |= {"auth_method": "private_key", **_key_of(key_file)}
        if not by_key or and_password:
            secret = read_secret(f"Password of {body['username']}@{address}", from_stdin=password_stdin)
            body |= {"auth_method": "key_and_password" if by_key else "password", "password": secret}
        platform = api.post("/platforms/", body)
    if as_json:
        print_json(platform)
    else:
        print(f"Added {platform['name']} ({platform['id']}).")


@platforms.command("list")
def list_platforms(
    q: Annotated[
        str | None, typer.Option("--search", "-q", metavar="TEXT", help="Only those with it.")
    ] = None,
    tag: Tags = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show platforms."""
    from testum.cli.api import Api

    with Api(url) as api:
        # The server filters by one tag; the others are looked for here.
        found = [
            item
            for item in api.pages("/platforms/", q=q, tag=tag[0] if tag else None)
            if set(tag or []) <= set(item["tags"])
        ]
    if as_json:
        print_json(found)
        return
    rows = [(item["name"], address_of(item), item["auth_method"], item.get("tags")) for item in found]
    print_table(("NAME", "ADDRESS", "LOGIN", "TAGS"), rows)


@platforms.command()
def show(platform: Reference, url: Url = None, as_json: Json = False) -> None:
    """Show one platform."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        item = find(api, "platforms", platform)
    if as_json:
        print_json(item)
        return
    fields = (
        "id", "name", "host", "port", "username", "auth_method", "zone", "tags", "description",
        "jump_platform_id", "known_host_fingerprint", "old_algorithms", "created_at",
    )  # fmt: skip
    print_fields(item, fields)


@platforms.command()
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
            body |= _key_of(key_file) if key_file else {}
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


@platforms.command()
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


@platforms.command("accept-key")
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
            secrets = _key_of(key_file) if key_file else {}
            if ask_password or password_stdin:
                secrets["password"] = read_secret(f"Password for {item['name']}", from_stdin=password_stdin)
            item = api.patch(f"/platforms/{item['id']}", {"known_host_key": shown["public_key"], **secrets})
    if as_json:
        print_json(item)
    else:
        print(f"{item['name']} is trusted by {_key_line(shown | {'trust': 'trusted'})}.")


@platforms.command()
def remove(platform: Reference, url: Url = None, as_json: Json = False) -> None:
    """Remove a platform. What ran on it is kept."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        answer = api.delete(f"/platforms/{find(api, 'platforms', platform)['id']}")
    if as_json:
        print_json(answer)
    else:
        print(f"Removed {platform}.")


@platforms.command("import")
def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="- reads stdin.")],
    format: Annotated[
        str | None, typer.Option(metavar="csv|ssh-config|ansible", help="Judged by the file if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    username: Annotated[
        str | None,
        typer.Option("--username", "-u", metavar="USER", help="Where the file names none; else your own."),
    ] = None,
    key: KeyName = None,
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="Ask once for the password of those without credentials.")
    ] = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="For all of them; may be repeated.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Change those that are there and differ.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Add the platforms that a file describes.

    It may be a CSV file, an OpenSSH client configuration or an Ansible inventory.

    What is there already is left alone without --update. A line with a problem costs only itself; the status is then 1.
    """
    from getpass import getuser

    from testum.cli.api import Api, find
    from testum.cli.importing import KEPT_BACK, Rows, read_inventory, tell

    inventory, directory = read_inventory(file, format)
    with Api(url) as api:
        known = {item["name"] for item in api.pages("/platforms/")}
        rows = Rows(directory, by_default=key is None and not ask_password, dry_run=dry_run)
        for draft in inventory.drafts:
            rows.add(draft, known=draft.name in known and not update)
        password = ""
        if ask_password:
            password = KEPT_BACK if dry_run else read_secret("Password of those without credentials")
        body = {
            "hosts": rows.hosts,
            "keys": rows.keys,
            "username": username or getuser(),
            "key_id": find(api, "keys", key)["id"] if key else None,
            "password": password,
            "tags": tag or [],
            "dry_run": dry_run,
            "update": update,
        }
        plan = api.post("/platforms/import", body)
    # What could not be read did not leave this machine.
    plan["problems"] = [asdict(problem) for problem in inventory.problems] + plan["problems"]
    plan["notes"] = [asdict(note) for note in inventory.notes] + plan["notes"]
    if rows.default_key is not None:
        # It is a secret of the person's own, and goes to the server.
        message = f"hosts of which nothing is said log in with {rows.default_key}, which is uploaded"
        plan["notes"].append({"line": 0, "message": message, "name": "", "file": ""})
    if as_json:
        print_json(plan)
    else:
        tell(plan, update=update, say=print)
    raise typer.Exit(SOME_FAILED if plan["problem"] or plan["problems"] else OK)


def split_address(text: str) -> tuple[str, str, int | None]:
    """User, host and port of `user@host:port`, `[::1]:22` or a bare IPv6 address. Raises WrongUse."""
    user, host, port = split_hop(text)
    if port is not None and not 0 < port < 65536:
        raise WrongUse(f"{text}: a port is a number from 1 to 65535.")
    return user, host, port


def _key_line(key: dict[str, Any]) -> str:
    """A host key that was shown, and whether it is trusted."""
    trust = {"trusted": "trusted", "new": "no key is trusted yet", "other": "not the one that is trusted"}
    return f"{key['algorithm']} {key['fingerprint']} ({trust[key['trust']]})"


def address_of(item: dict[str, Any]) -> str:
    """A platform's login and address in one word."""
    host = f"[{item['host']}]" if ":" in item["host"] else item["host"]
    return f"{item['username']}@{host}:{item['port']}"


def _key_of(path: Path) -> dict[str, str]:
    from testum.cli.keyfiles import read_key, unlock

    text = read_key(path)
    passphrase = unlock(text, str(path))
    return {"private_key": text, **({"passphrase": passphrase} if passphrase else {})}
