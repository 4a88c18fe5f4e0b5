"""A schemathesis run over the whole OpenAPI document: nothing fails within the server, and what comes back is
what the document says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.sshd import free_port
from testum.installed import INSTALLED
from testum.settings import Settings
from testum.web.factory import build

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,use_after_free,"
    "ignored_auth"
)
CONFIGURATION = """
headers = {{ Authorization = "Bearer {token}" }}
[[operations]]
include-operation-id = "logout"
headers = {{ Authorization = "Bearer {other}" }}
[[operations]]
include-operation-id = "leave"
headers = {{ Authorization = "Bearer {other}" }}
"""
"""`logout` and `leave` end another login than the one that all the rest needs."""


@pytest.mark.timeout(660)
def test_the_whole_document(tmp_path: Path) -> None:
    with Server(env={"ACCESS_TOKEN_SECONDS": "7200"}) as server:
        api = server.client()
        for name in ("one", "two"):
            api.post(
                "/platforms/",
                {
                    "name": name,
                    "host": "127.0.0.1",
                    "port": free_port(),
                    "username": "nobody",
                    "auth_method": "password",
                    "password": "unused",
                },
            )
        env = {
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            "SCHEMATHESIS_HOOKS": "tests.web.schemathesis_hooks",
        }
        token, other = (login.tokens["access_token"] for login in (api, server.client()))
        (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(token=token, other=other))
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")), "run", f"{server.url}/openapi.json",
                "--checks", CHECKS, "--phases", "examples,coverage,fuzzing,stateful",
                "--max-examples", "8", "--seed", "20240229", "--no-shrink",
                "--continue-on-failure", "--suppress-health-check", "all", "--no-color",
            ],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        told = done.stdout + done.stderr
        operations = sum(
            len(methods)
            for methods in build(Settings(_env_file=None), INSTALLED).openapi()["paths"].values()  # type: ignore[call-arg]
        )
        assert done.returncode == 0, told[-15_000:]
        assert f"{operations} selected / {operations} total" in told, told[-3000:]
        assert "Traceback" not in server.log.read_text()
        assert api.get("/auth/me")["username"] == "admin", "the login was good to the end"
        made = api.all("/audit/", action="platform.create")
        assert all("@127.0.0.1:" in entry["meta"]["address"] for entry in made)
        done_there = {entry["action"] for entry in api.all("/audit/", outcome="allowed")}
        assert done_there >= {
            "platform.delete",
            "platform.update",
            "job.run_command",
            "job.deploy",
            "key.delete",
        }
