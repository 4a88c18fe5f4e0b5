"""`testum platforms`: the hosts that jobs run on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from testum.cli.account import PasswordStdin, read_secret
from testum.cli.failures import OK, SOME_FAILED, WrongUse
from testum.cli.options import Json, Url, print_fields, print_json, print_table

platforms = typer.Typer(
    help="Add, list, show, remove and import platforms.", no_args_is_help=True, rich_markup_mode=None
)

Reference = Annotated[str, typer.Argument(metavar="NAME|ID")]
KeyName = Annotated[str | None, typer.Option("--key", metavar="NAME|ID", help="Log in with this stored key.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")]


@platforms.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    host: Annotated[str, typer.Argument(metavar="[USER@]HOST[:PORT]")],
    username: Annotated[
        str | None, typer.Option("--username", "-u", metavar="USER", help="If not given with the host.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", metavar="PORT", min=1, max=65535)] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", "-i", metavar="FILE", help="Log in with this private key.")
    ] = None,
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
        "jump_platform_id", "known_host_fingerprint", "created_at",
    )  # fmt: skip
    print_fields(item, fields)


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
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Add the platforms that a file describes.

    It may be a CSV file, an OpenSSH client configuration or an Ansible INI inventory.

    What is there already is left alone. A line with a problem costs only itself; the status is then 1.
    """
    from testum.cli.api import Api, find
    from testum.cli.importing import Credentials, Importer, read_inventory

    inventory, directory = read_inventory(file, format)
    with Api(url) as api:
        credentials = Credentials(
            directory,
            username or "",
            find(api, "keys", key)["id"] if key else "",
            read_secret("Password of those without credentials") if ask_password else "",
        )
        importer = Importer(api, credentials, dry_run=dry_run, say=(lambda text: None) if as_json else print)
        importer.run(inventory)
    if as_json:
        print_json(importer.report())
    raise typer.Exit(SOME_FAILED if importer.problems else OK)


def split_address(text: str) -> tuple[str, str, int | None]:
    """User, host and port of `user@host:port`, `[::1]:22` or a bare IPv6 address. Raises WrongUse."""
    user, _, rest = text.rpartition("@")
    host, _, port = rest.rpartition(":")
    if not port.isdigit() or not host or (":" in host and not host.startswith("[")):
        return user, rest.strip("[]"), None
    if not 0 < int(port) < 65536:
        raise WrongUse(f"{text}: a port is a number from 1 to 65535.")
    return user, host.strip("[]"), int(port)


def address_of(item: dict[str, Any]) -> str:
    """A platform's login and address in one word."""
    host = f"[{item['host']}]" if ":" in item["host"] else item["host"]
    return f"{item['username']}@{host}:{item['port']}"


def _key_of(path: Path) -> dict[str, str]:
    from testum.cli.keyfiles import read_key, unlock

    text = read_key(path)
    passphrase = unlock(text, str(path))
    return {"private_key": text, **({"passphrase": passphrase} if passphrase else {})}
