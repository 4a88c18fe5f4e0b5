"""`testum keys`: the SSH keys that the server keeps."""

from pathlib import Path
from typing import Annotated, Any

import typer

from testum.cli.execute import run_and_watch
from testum.cli.failures import WrongUse
from testum.cli.options import Json, Url, print_json, print_table
from testum.cli.targets import Chosen, Everything, On, Selection, WithTag

keys = typer.Typer(help="Add, list, deploy and remove SSH keys.", no_args_is_help=True, rich_markup_mode=None)


@keys.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    public_key: Annotated[Path, typer.Argument(metavar="PUBLIC_KEY_FILE")],
    private_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its private half, for platforms to log in with.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Add a public key from a .pub file.

    The passphrase of an encrypted private key is asked for.
    """
    from testum.cli.api import Api
    from testum.cli.keyfiles import read_key, unlock

    try:
        text = public_key.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{public_key}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if "PRIVATE KEY" in text or text.startswith("PuTTY"):
        # Said here, and not by the server: a private key given by mistake must not leave this machine.
        raise WrongUse(f"{public_key}: this is a private key. Name the public one ({public_key}.pub?).")
    body = {"name": name, "public_key": text}
    if private_key is not None:
        body["private_key"] = read_key(private_key)
        if passphrase := unlock(body["private_key"], str(private_key)):
            body["passphrase"] = passphrase
    with Api(url) as api:
        key = api.post("/keys/", body)
    if as_json:
        print_json(key)
    else:
        print(f"Added key {key['name']} ({key['fingerprint']}).")


@keys.command("list")
def list_keys(url: Url = None, as_json: Json = False) -> None:
    """Show all keys."""
    from testum.cli.api import Api

    with Api(url) as api:
        found = list(api.pages("/keys/"))
    if as_json:
        print_json(found)
        return
    rows = [(key["name"], key.get("fingerprint"), key.get("created_by"), key["id"]) for key in found]
    print_table(("NAME", "FINGERPRINT", "BY", "ID"), rows)


@keys.command()
def deploy(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|ID]...", help="The keys; --every-key: all there are.")
    ] = None,
    every_key: Annotated[bool, typer.Option("--every-key", help="All keys that the server keeps.")] = False,
    on: On = None,
    tag: WithTag = None,
    everything: Everything = False,
    selection: Selection = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Put keys into the authorized_keys of platforms' accounts. What is there stays.

    Exit status: 0 all succeeded, 1 some did not, 2 wrong use, 3 the server refused, 130 interrupted.
    """
    from testum.cli.api import Api, find

    if bool(names) == every_key:
        raise WrongUse("Which keys? Name some, or give --every-key.")
    chosen = Chosen(on, tag, everything, selection)
    with Api(url) as api:
        body: dict[str, Any] = {"type": "deploy", "targets": chosen.targets(api)}
        if names:
            body["key_ids"] = [find(api, "keys", name)["id"] for name in names]
        raise typer.Exit(run_and_watch(api, body, as_json=as_json))


@keys.command()
def remove(
    key: Annotated[str, typer.Argument(metavar="NAME|ID")], url: Url = None, as_json: Json = False
) -> None:
    """Remove a key from the server. It stays on platforms where it was deployed."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        answer = api.delete(f"/keys/{find(api, 'keys', key)['id']}")
    if as_json:
        print_json(answer)
    else:
        print(f"Removed key {key}.")
