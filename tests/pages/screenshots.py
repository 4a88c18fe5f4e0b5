"""Pictures of every page, in both themes, on a desktop and a phone: `python -m tests.pages.screenshots FOLDER`.

The server is a real one with the demo's hosts, some jobs that ended well and some that did not.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.pages.catalogue import BARE, PAGES
from tests.support.browser import DESKTOP, PHONE, Tab, chromium
from tests.support.server import ADMIN, Api, Process
from tests.support.sshd import free_port

COMMANDS = (
    ("uptime", {"all": True}),
    ("df -h / | tail -1", {"tags": ["web"]}),
    ("systemctl is-active nginx", {"all": True}),
    ("for i in 1 2 3 4 5; do echo step $i of 5; done; uname -a", {"tags": ["prod"]}),
)


def fill(api: Api) -> dict[str, str]:
    """Make the installation look like one that is in use; the ids that pages are about."""
    api.post(
        "/platforms/",
        {
            "name": "mail-01", "host": "127.0.0.1", "port": 1, "username": "root", "auth_method": "password",
            "password": "x", "tags": ["mail", "prod"],
        },
    )  # fmt: skip
    key = api.post(
        "/keys/",
        {
            "name": "alice@laptop",
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 alice@laptop",
        },
    )
    api.wait_job(api.start_job(type="gather_facts"))
    api.wait_job(api.start_job(type="deploy", targets={"tags": ["web"]}))
    job = ""
    for command, targets in COMMANDS:
        job = api.start_job(command, targets=targets)
        api.wait_job(job)
    platform = api.get("/platforms/", name="web-01")[0]
    return {"platform": platform["id"], "job": job, "task": api.tasks(job)[0]["id"], "key": key["id"]}


def main(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="testum-pictures-") as data:
        port = free_port()
        env = {**os.environ, "DATA_DIR": data, "ADMIN_USERNAME": ADMIN[0], "ADMIN_PASSWORD": ADMIN[1]}
        server = Process(["demo", "--port", str(port)], env, Path(data), Path(data) / "log")
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(url)
            take(folder, url, fill(Api(url)))
        finally:
            server.stop()


def wait_for(url: str) -> None:
    """Until the server answers."""
    for _ in range(300):
        try:
            if httpx2.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def take(folder: Path, url: str, ids: dict[str, str]) -> None:
    """One picture after the other."""
    with chromium() as browser:
        login = Tab(browser, url).log_in()
        state: Any = login.context.storage_state()
        login.close()
        for theme in ("dark", "light"):
            for size, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
                for pages, cookies in ((PAGES, state), (BARE, None)):
                    tab = Tab(browser, url, state=cookies, viewport=viewport)
                    tab.expected = ["404"]
                    tab.context.add_cookies([{"name": "theme", "value": theme, "url": url}])
                    for name, path in pages.items():
                        tab.page.goto(path.format(**ids))
                        tab.page.wait_for_timeout(700)
                        tab.page.screenshot(path=folder / f"{name}-{theme}-{size}.png")
                    tab.close()
        print(f"{len(list(folder.glob('*.png')))} pictures are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
