"""The built scripts, styles and icons: their addresses, and serving them compressed and for ever, because the content
is in the name."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from testum.errors import ConfigurationError
from testum.web.errors import ProblemResponse

MOUNT = "/static/app"
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}


class Assets:
    """What `make` or the installation built, as an ASGI application and a table of addresses."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(str(files("testum.web").joinpath("static", "dist")))
        try:
            manifest: dict[str, Any] = json.loads((self._folder / "manifest.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise ConfigurationError(
                "The web interface was not built. In a checkout, `make setup` builds it; a package has it."
            ) from None
        self._urls = {name: f"{MOUNT}/{file}" for name, file in manifest["files"].items()}
        self._icons = frozenset(manifest["icons"])
        self._served = {path.name for path in self._folder.iterdir() if path.suffix in _TYPES}

    def url(self, name: str) -> str:
        """The address of an asset, such as `app.js`. Raises KeyError for one that there is not."""
        return self._urls[name.replace(".js", ".ts") if name.endswith(".js") else name]

    def icon(self, name: str) -> str:
        """The address of an icon. Raises KeyError for one that frontend/src/icons.txt does not name."""
        if name not in self._icons:
            raise KeyError(f"frontend/src/icons.txt does not name the icon {name}")
        return f"{self._urls['icons.svg']}#{name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        name = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        if name not in self._served or scope["method"] not in ("GET", "HEAD"):
            missing = ProblemResponse(404, "not_found", "There is nothing at this address.")
            await missing(scope, receive, send)
            return
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        path = self._folder / name
        accepted = {
            part.split(";")[0].strip() for part in Headers(scope=scope).get("accept-encoding", "").split(",")
        }
        for encoding, suffix in _ENCODINGS:
            if encoding in accepted and path.with_name(name + suffix).is_file():
                headers["Content-Encoding"] = encoding
                path = path.with_name(name + suffix)
                break
        kind = _TYPES["." + name.rpartition(".")[2]]
        await FileResponse(path, headers=headers, media_type=kind)(scope, receive, send)
