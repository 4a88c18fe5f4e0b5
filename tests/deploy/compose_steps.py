"""docker-compose.yml at work: the steps of `test_compose.py`, in this order, in a network namespace of their own.

`TESTUM_EXERCISE` is the Docker storage with the images. The compose file is used as it is; images that cannot be pulled
here have others in their place, by the variables that the file has for them, and an override has Docker look at the
containers' health more often.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.deploy import images
from tests.deploy.daemon import Daemon, run, said
from tests.deploy.guide import code
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.waiting import until

OURS = ("web", "worker")
SERVERS = images.SERVERS
HEALTH_SECONDS = {"postgres": 2, "redis": 2, "s3": 2, "web": 5, "worker": 8}
"""So often Docker looks at each container's health. The file's own intervals were most of the time of this exercise; but
each look starts a program in the container, so no more often than a start takes anyway."""


class Stack:
    """The stack in a folder that has nothing but the compose file, the override and `.env`, as somebody pastes it."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.folder, self.daemon = folder, daemon
        shutil.copy(images.ROOT / "docker-compose.yml", folder)
        checks = {
            service: {"healthcheck": {"interval": f"{seconds}s"}}
            for service, seconds in HEALTH_SECONDS.items()
        }
        # JSON is YAML; Compose reads it beside the other file by itself.
        (folder / "docker-compose.override.yml").write_text(json.dumps({"services": checks}))
        said(run(["sh", "-c", code("compose.md", "sh", "POSTGRES_PASSWORD")], daemon.env, folder))
        name, tag = images.TESTUM.split(":")
        with (folder / ".env").open("a") as file:
            # The stand-in wants a colon in the access key.
            file.write(f"TESTUM_IMAGE={name}\nTESTUM_TAG={tag}\nMINIO_ACCESS_KEY=testum:user\n")
            file.write("".join(f"{server.upper()}_IMAGE=standin-{server}:1\n" for server in SERVERS))
        self.settings = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())

    def compose(self, *arguments: str) -> str:
        # `make test` has a project of its own in its environment.
        env = {**self.daemon.env, "COMPOSE_PROJECT_NAME": self.folder.name}
        return said(run(["docker-compose", *arguments], env, self.folder))

    def containers(self, service: str) -> list[str]:
        # Not by Compose itself, which takes a second for it.
        labels = {"project": self.folder.name, "service": service}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        found = self.daemon.docker("ps", "--quiet", *filters).split()
        assert found, f"no container of {service} runs"
        return found

    def container(self, service: str) -> str:
        return self.containers(service)[0]

    def inside(self, service: str, command: str) -> str:
        """Run a shell's command in the container."""
        return self.daemon.docker("exec", self.container(service), "sh", "-c", command)

    def health(self, container: str) -> str:
        state: str = self.daemon.inspect(container)["State"]["Health"]["Status"]
        return state

    def wait_healthy(self, *services: str) -> None:
        """Wait until all containers of these services are."""
        for service in services:
            for container in self.containers(service):
                try:
                    until(lambda container=container: self.health(container) == "healthy", 120)
                except AssertionError:
                    raise AssertionError(
                        f"{service} is not healthy:\n{self.compose('logs')[-6000:]}"
                    ) from None

    def wait_working(self) -> None:
        """Wait until all workers take messages."""
        for container in self.containers("worker"):
            until(lambda container=container: "serves default" in self.daemon.docker("logs", container), 120)

    def gateway(self) -> str:
        """This machine's address, as containers see it."""
        network = self.daemon.inspect(f"{self.folder.name}_outside")
        address: str = network["IPAM"]["Config"][0]["Gateway"]
        return address

    @contextmanager
    def api(self) -> Iterator[Api]:
        """A client that is logged in."""
        client = Api("http://127.0.0.1:8000", "admin", self.settings["ADMIN_PASSWORD"])
        try:
            yield client
        finally:
            client.http.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with Daemon(tmp_path_factory.mktemp("d"), Path(os.environ["TESTUM_EXERCISE"]), networks=True) as running:
        yield running


@pytest.fixture(scope="module")
def stack(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("testum"), daemon)
    made.compose("up", "--detach")
    made.wait_healthy("web")
    made.wait_working()
    yield made
    made.compose("down", "--volumes")


@pytest.fixture(scope="module")
def sshd() -> Iterator[RealSshd]:
    running = RealSshd(everywhere=True)
    yield running
    running.close()


@pytest.fixture(scope="module")
def api(stack: Stack, sshd: RealSshd) -> Iterator[Api]:
    """Logged in, with one platform: the sshd, as containers see it."""
    with stack.api() as client:
        client.add_platform("host", sshd, host=stack.gateway())
        yield client


def test_one_container_with_everything_embedded(daemon: Daemon) -> None:
    restricted = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    volume = ["--volume", "alone:/data", "--security-opt", "no-new-privileges"]
    start = ["run", "--detach", "--name", "alone", "--network", "none", *restricted, *volume, images.TESTUM]
    daemon.docker(*start)
    until(lambda: daemon.try_docker("exec", "alone", "testum", "health").returncode == 0, 60)
    assert "Its password, shown this once: " in daemon.docker("logs", "alone")
    assert daemon.docker("exec", "alone", "stat", "-c", "%a %u", "/data/fernet_key") == "600 10001\n"
    daemon.docker("stop", "alone")
    daemon.docker("rm", "alone")
    daemon.docker(*start)
    until(lambda: daemon.try_docker("exec", "alone", "testum", "health").returncode == 0, 60)
    assert "password" not in daemon.docker("logs", "alone"), "the account was not in the volume"
    daemon.docker("rm", "--force", "alone")
    daemon.docker("volume", "rm", "alone")


def test_the_image_says_what_it_is_and_holds_no_tools(daemon: Daemon) -> None:
    image = daemon.inspect(images.TESTUM)["Config"]
    assert image["User"] == "10001:10001" and list(image["Volumes"]) == ["/data"]
    assert image["Healthcheck"]["Test"] == ["CMD", "testum", "health"]
    assert image["StopSignal"] == "SIGTERM" and image["Entrypoint"] == ["testum"]
    assert image["Labels"]["org.opencontainers.image.title"] == "testum"
    look = "find /opt/testum /data \\( -name pip -o -name '.git*' -o -name tests -path '*testum/tests*' \\) | head"
    run_in = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh", images.TESTUM, "-c"]
    assert daemon.docker(*run_in, look) == ""
    assert daemon.docker(*run_in, "find / -xdev -user 10001 ! -path '/proc/*'") == "/data\n"


@pytest.mark.parametrize("service", [*OURS, *SERVERS])
def test_containers_have_no_rights(stack: Stack, service: str) -> None:
    status = stack.inside(service, "cat /proc/1/status")
    fields = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.MULTILINE))
    assert "0" not in fields["Uid"].split() and "0" not in fields["Gid"].split()
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    assert "Read-only file system" in stack.inside(service, "touch /x 2>&1 || true")
    host = stack.daemon.inspect(stack.container(service))["HostConfig"]
    assert host["ReadonlyRootfs"] and host["Memory"] and host["NanoCpus"] and host["PidsLimit"]
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}


def test_only_the_web_process_can_be_reached(stack: Stack) -> None:
    ports = {
        service: stack.daemon.inspect(stack.container(service))["HostConfig"]["PortBindings"]
        for service in (*OURS, *SERVERS)
    }
    assert {name for name, bound in ports.items() if bound} == {"web"}
    assert ports["web"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}
    for service in SERVERS:
        networks = stack.daemon.inspect(stack.container(service))["NetworkSettings"]["Networks"]
        assert [name.partition("_")[2] for name in networks] == ["inside"]


def test_testum_is_no_superuser_of_postgresql(stack: Stack) -> None:
    rights = " OR ".join(
        f"rol{may}" for may in ("super", "createrole", "createdb", "replication", "bypassrls")
    )
    query = f"SELECT {rights} FROM pg_roles WHERE rolname = current_user"
    assert stack.inside("postgres", f"psql --username testum -Atc '{query}' testum") == "f\n"
    # The superuser's password is another one.
    connect = (
        "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL'].replace('//testum:', '//postgres:'))"
    )
    refused = stack.inside("web", f'python -c "{connect}" 2>&1 || true')
    assert 'password authentication failed for user "postgres"' in refused


def test_postgresql_has_processes_for_its_connections(stack: Stack) -> None:
    most = int(stack.inside("postgres", "psql --username testum -Atc 'SHOW max_connections' testum"))
    assert most == 300
    limit = stack.daemon.inspect(stack.container("postgres"))["HostConfig"]["PidsLimit"]
    # As many as the guide allows, and its own.
    assert limit >= 1000 + 20


def test_docker_waits_for_a_worker_longer_than_it_needs(stack: Stack) -> None:
    drain = float(stack.inside("worker", "echo $WORKER_DRAIN_SECONDS"))
    assert stack.daemon.inspect(stack.container("worker"))["Config"]["StopTimeout"] == drain + 60


def test_no_process_list_shows_a_secret(stack: Stack) -> None:
    names = [name for name in stack.settings if name.endswith(("_KEY", "PASSWORD")) and "ACCESS" not in name]
    secrets = [stack.settings[name] for name in names]
    listed = "".join(
        stack.daemon.docker("top", stack.container(service), "-eo", "pid,args")
        for service in (*OURS, *SERVERS)
    )
    assert "testum worker" in listed and not [secret for secret in secrets if secret in listed]


def test_a_job_runs_end_to_end(stack: Stack, api: Api) -> None:
    workers = {row["id"].partition(":")[0] for row in api.get("/workers/")}
    assert workers == {stack.inside("worker", "hostname").strip()}
    task = api.run("echo out; echo err >&2; exit 3")
    assert (task["status"], task["exit_code"], task["stdout"], task["stderr"]) == (
        "failed",
        3,
        "out\n",
        "err\n",
    )
    assert all(state == "ok" for state in api.get("/../../health/ready")["walls"].values())


def test_large_output_is_in_the_object_store(stack: Stack, api: Api) -> None:
    task = api.run("seq 2000000")
    assert task["status"] == "success"
    assert api.output(task["id"]) == b"".join(b"%d\n" % number for number in range(1, 2_000_001))
    kept = stack.inside("s3", "busybox find /data -name '*.data' -size +1000k | wc -l")
    assert int(kept) > 0


def test_all_become_healthy(stack: Stack) -> None:
    stack.wait_healthy(*OURS, *SERVERS)
    assert "lives: 2 processes" in stack.inside("worker", "testum health --worker")


def test_workers_may_be_many(stack: Stack, api: Api) -> None:
    stack.compose("up", "--detach", "--no-recreate", "--scale", "worker=2")
    stack.wait_working()
    until(lambda: len({row["id"].partition(":")[0] for row in api.get("/workers/")}) == 2, 60)
    assert api.run("true")["status"] == "success"


def test_a_worker_that_stops_finishes_first(stack: Stack, api: Api) -> None:
    job = api.start_job("sleep 4; echo done")
    until(lambda: api.tasks(job)[0]["status"] == "running", 60)
    workers = stack.containers("worker")
    stack.daemon.docker("stop", *workers)
    task = api.tasks(job)[0]
    assert (task["status"], task["stdout"]) == ("success", "done\n")
    # Who does not end within the time is killed, which is 137.
    assert {stack.daemon.inspect(container)["State"]["ExitCode"] for container in workers} == {0}
    assert api.get("/workers/") == []


def test_the_web_process_stops_in_order(stack: Stack) -> None:
    web = stack.container("web")
    stack.daemon.docker("stop", web)
    # Ended by the signal, as a shell says it: not killed (137).
    assert stack.daemon.inspect(web)["State"]["ExitCode"] in (0, 143)


def test_data_survives_the_containers(stack: Stack) -> None:
    before = stack.inside("postgres", "psql --username testum testum -c 'TABLE alembic_version'")
    stack.compose("down")
    assert json.loads(stack.daemon.docker("ps", "--all", "--format", "{{json .}}") or "null") is None
    # And the web process becomes two: the next step looks at them.
    with (stack.folder / ".env").open("a") as file:
        file.write(code("compose.md", "sh", "TESTUM_LISTEN"))
    stack.compose("up", "--detach", "--scale", "web=2")
    stack.wait_healthy("web")
    with stack.api() as client:
        [platform] = client.get("/platforms/")
        assert platform["name"] == "host"
        # A new network may have other addresses.
        client.ok(client.http.patch(f"/platforms/{platform['id']}", json={"host": stack.gateway()}))
        assert client.run("echo again")["stdout"] == "again\n"
    assert stack.inside("postgres", "psql --username testum testum -c 'TABLE alembic_version'") == before


def test_web_processes_may_be_many(stack: Stack) -> None:
    assert len(stack.containers("web")) == 2
    for port in (8000, 8001):
        assert httpx2.get(f"http://127.0.0.1:{port}/health/live", timeout=30).status_code == 200
