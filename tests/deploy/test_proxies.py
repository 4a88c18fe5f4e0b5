"""The proxies of docs/guide/proxy.md for real: the configuration is taken from the page, and only its addresses, host
name and certificate are replaced. Traefik cannot be had where tests run; its part of the page is not tested.
"""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from tests.deploy.guide import code
from tests.support.server import ADMIN, Server
from tests.support.sshd import RealSshd, free_port, run
from tests.support.stream import output_of
from tests.support.tools import unique
from tests.support.waiting import until

CLIENT = "127.0.0.9"
"""The address that the client comes from, apart from the proxy's, 127.0.0.1."""


@dataclass(frozen=True)
class Certificate:
    file: Path
    key: Path


@dataclass(frozen=True)
class Front:
    """A proxy in front of testum. `plain` is where it listens without TLS, to send clients to the other port; or 0:
    Caddy's own redirect takes port 80 and no other."""

    port: int
    plain: int
    tls: ssl.SSLContext
    sshd: RealSshd

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx2.Client:
        transport = httpx2.HTTPTransport(local_address=CLIENT, verify=self.tls)
        return httpx2.Client(
            base_url=f"https://{self.authority}/api/v1", transport=transport, headers=headers, timeout=30
        )


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        try:
            until(lambda: process.poll() is not None or is_open(port))
        except AssertionError:
            raise AssertionError(f"{command[0]} does not answer: {log.read_text()}") from None
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """The text with each of these replaced; all of them must be in it."""
    for old, new in changes:
        assert old in text, f"the page no longer has {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, upstream: int, port: int, plain: int, certificate: Certificate) -> Iterator[None]:
    site = replaced(
        code("proxy.md", "nginx"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{upstream};"),
        ("/etc/letsencrypt/live/testum.example.com/fullchain.pem", str(certificate.file)),
        ("/etc/letsencrypt/live/testum.example.com/privkey.pem", str(certificate.key)),
    )
    (folder / "site.conf").write_text(site)
    paths = [
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; pid {folder / 'pid'}; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; {' '.join(paths)} include {folder / 'site.conf'}; }}\n"
    )
    with running(["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")], port, folder / "log"):
        yield


@contextmanager
def caddy(folder: Path, upstream: int, port: int, plain: int, certificate: Certificate) -> Iterator[None]:
    site = replaced(
        code("proxy.md", "caddyfile"),
        ("testum.example.com {", f"https://127.0.0.1:{port} {{\n\ttls {certificate.file} {certificate.key}"),
        ("reverse_proxy 127.0.0.1:8000", f"reverse_proxy 127.0.0.1:{upstream}"),
    )
    options = (
        f"{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder}\n\tdefault_bind 127.0.0.1\n}}\n"
    )
    (folder / "Caddyfile").write_text(options + site)
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with running(command, port, folder / "log"):
        yield


PROXIES: dict[str, Callable[..., Any]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(env={"TRUSTED_PROXIES": "127.0.0.1"}) as started:
        yield started


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    names = "subjectAltName=IP:127.0.0.1,DNS:testum.example.com"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    run(*new, "-subj", "/CN=testum", "-addext", names, "-keyout", str(made.key), "-out", str(made.file))
    return made


@pytest.fixture(scope="module", params=list(PROXIES))
def front(
    request: pytest.FixtureRequest,
    server: Server,
    real_sshd: RealSshd,
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    if shutil.which(request.param) is None:
        pytest.skip(f"NOT RUN, {request.param} in front of testum: apt install {request.param}")
    port, plain = free_port(), free_port()
    folder = tmp_path_factory.mktemp(request.param)
    tls = ssl.create_default_context(cafile=str(certificate.file))
    with PROXIES[request.param](folder, server.port, port, plain, certificate):
        yield Front(port, plain if request.param == "nginx" else 0, tls, real_sshd)


def login(client: httpx2.Client) -> dict[str, Any]:
    answer = client.post("/auth/login", json={"username": ADMIN[0], "password": ADMIN[1]})
    assert answer.status_code == 200, answer.text
    assert "; Secure" in answer.headers["set-cookie"], "testum did not hear that TLS was used"
    body: dict[str, Any] = answer.json()
    return body


def add_platform(client: httpx2.Client, front: Front) -> str:
    user = front.sshd.user
    body = {"name": unique(), "host": "127.0.0.1", "port": front.sshd.port, "username": user.name}
    answer = client.post("/platforms/", json={**body, "auth_method": "password", "password": user.password})
    assert answer.status_code == 201, answer.text
    platform: str = answer.json()["id"]
    return platform


async def watch(front: Front, task: str, token: str, gate: Path) -> list[Any]:
    """Every message of a task's stream until the server closes; when its output begins to come, the gate is made.

    Not with websockets' client for threads: it reads and writes one TLS connection in two threads at once, which
    OpenSSL forbids, and on a busy machine one handshake in some hundreds was never answered.
    """
    told = []
    async with connect(
        f"wss://{front.authority}/ws/tasks/{task}",
        ssl=front.tls,
        local_addr=(CLIENT, 0),
        origin=Origin(f"https://{front.authority}"),
        additional_headers={"Cookie": f"access_token={token}"},
    ) as watching:
        async for text in watching:
            told.append(json.loads(text))
            if told[-1]["type"] == "stdout":
                gate.touch()
    return told


@pytest.mark.embedded
def test_a_browser_works_behind_a_proxy(front: Front) -> None:
    """Log in, run a command, watch it over the WebSocket, as a page would: by the cookie. Output comes at once: the
    command waits until its first line has been seen."""
    gate = front.sshd.user.home / unique("gate")
    if front.plain:
        answer = httpx2.get(f"http://127.0.0.1:{front.plain}/docs", follow_redirects=False, timeout=60)
        assert answer.status_code == 301 and answer.headers["location"] == "https://127.0.0.1/docs"
    # What a client says of itself must not count.
    with front.client(**{"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"}) as client:
        token = login(client)["access_token"]
        client.headers["Origin"] = f"https://{front.authority}"
        platform = add_platform(client, front)
        accepted = client.post(
            f"/platforms/{platform}/run_command",
            json={"command": f"echo one; until [ -e {gate} ]; do sleep 0.1; done; echo two", "timeout": 60},
        ).json()
        told = asyncio.run(watch(front, accepted["task_id"], token, gate))
        assert output_of(told, "stdout") == b"one\ntwo\n" and told[-1]["type"] == "done"
        entries = client.get("/audit/", params={"limit": 50}).json()
        ours = [row for row in entries if row["object_id"] == platform and row["user"] == ADMIN[0]]
        assert ours and {row["address"] for row in ours} == {CLIENT}


@pytest.mark.embedded
def test_large_answers_and_requests_pass(front: Front) -> None:
    with front.client() as client:
        client.headers["Authorization"] = f"Bearer {login(client)['access_token']}"
        client.cookies.clear()
        targets = {"platform_ids": [add_platform(client, front)]}
        # Nearly the most that testum takes of a script; as JSON, more than nginx takes unless it is told.
        script = {"text": "seq 1000000\n" + "# a comment\n" * 86_000, "interpreter": "sh"}
        job = client.post("/jobs/", json={"type": "run_script", "script": script, "targets": targets})
        assert job.status_code == 202, job.text
        path = f"/jobs/{job.json()['id']}"
        until(lambda: client.get(path).json()["status"] not in ("pending", "running"), 60)
        task = client.get("/tasks/", params={"job_id": job.json()["id"]}).json()[0]
        output = client.get(f"/tasks/{task['id']}/output", params={"stream": "stdout"})
        assert output.content == b"".join(b"%d\n" % number for number in range(1, 1_000_001))


@pytest.mark.embedded
def test_strangers_cannot_claim_an_address(server: Server) -> None:
    """Past the proxy, from an address that is none of a proxy, the header does not count."""
    transport = httpx2.HTTPTransport(local_address=CLIENT)
    with httpx2.Client(base_url=f"{server.url}/api/v1", transport=transport, timeout=60) as client:
        refused = client.get("/platforms/", headers={"X-Forwarded-For": "192.0.2.1"})
        assert refused.status_code == 401
    entry = server.client().get("/audit/", limit=50)
    assert "192.0.2.1" not in {row["address"] for row in entry}
    assert CLIENT in {row["address"] for row in entry}
