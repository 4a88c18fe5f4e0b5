"""docker-compose.yml and .env.example know every setting, and Compose starts nothing without the secrets."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it has none, and one call is not worth a package of stubs

from tests.deploy.daemon import run, said
from tests.deploy.guide import GUIDE, code
from testum import __version__
from testum.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SECRETS = {
    "ADMIN_PASSWORD",
    "FERNET_KEY",
    "MINIO_SECRET_KEY",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "SECRET_KEY",
}
NOT_OF_THE_OPERATOR = {
    "APP_ENV": "nothing depends on it",
    "CELERY_RESULT_BACKEND": "nothing depends on it",
    "DATA_DIR": "the image's, and empty",
    "DATABASE_URL": "made of POSTGRES_PASSWORD, for the file's PostgreSQL",
    "REDIS_URL": "made of REDIS_PASSWORD, for the file's Redis",
    "CELERY_BROKER_URL": "made of REDIS_PASSWORD, for the file's Redis",
}
"""The settings that docker-compose.yml does not take from its operator, and why."""


def documented() -> dict[str, str]:
    """The settings in .env.example, with the values there."""
    return dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_env_example_has_every_setting_with_its_default() -> None:
    shown = documented()
    for name, field in Settings.model_fields.items():
        assert name.upper() in shown, f".env.example lacks {name.upper()}"
        default = field.default
        if isinstance(default, bool):
            assert shown[name.upper()] == str(default).lower()
        elif isinstance(default, int | float):
            assert float(shown[name.upper()]) == default, name
        elif isinstance(default, str | Path) and str(default):
            assert shown[name.upper()] == str(default), name


@pytest.mark.parametrize("service", ["web", "worker"])
def test_its_servers_are_stopped_after_testum(service: str) -> None:
    """Compose stops a service before those that it names, and before no others: without PostgreSQL nobody could write
    down how a task ended."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert {"postgres", "redis", "s3"} <= set(services[service]["depends_on"])


def test_compose_passes_every_setting_on() -> None:
    named = re.findall(r"^ +([A-Z0-9_]+): *(.*)$", COMPOSE.read_text(), re.MULTILINE)
    passed_on = {name for name, value in named if not value or value.startswith(f"${{{name}:")}
    settings = {name.upper() for name in Settings.model_fields}
    assert settings - passed_on == set(NOT_OF_THE_OPERATOR)


def test_the_guide_says_what_compose_does_not_take() -> None:
    [said_so] = re.findall(r"only (.*?)\. After", (GUIDE / "compose.md").read_text(), re.DOTALL)
    assert set(re.findall(r"`([A-Z_]+)`", said_so)) == {
        name for name, reason in NOT_OF_THE_OPERATOR.items() if "nothing" not in reason
    }


def test_env_example_has_every_variable_of_compose() -> None:
    used = dict(re.findall(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?", COMPOSE.read_text()))
    shown = documented()
    assert set(used) <= set(shown)
    differ = {f"{name}={default}" for name, default in used.items() if default and default != shown[name]}
    [said_so] = re.findall(
        r"Other defaults\n# there: (.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE
    )
    assert set(re.findall(r"[A-Z_]+=[^\s,]*\w", said_so)) == differ


def environment(folder: Path, without: str = "") -> dict[str, str]:
    """What the guide's lines make, as variables."""
    said(run(["sh", "-c", code("compose.md", "sh", "POSTGRES_PASSWORD")], os.environ, folder))
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    made = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    assert set(made) == SECRETS | {"TESTUM_TAG"}
    (folder / ".env").unlink()
    inherited = {
        name: value for name, value in os.environ.items() if name not in made and "COMPOSE" not in name
    }
    return inherited | {name: value for name, value in made.items() if name != without}


def config(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    if shutil.which("docker-compose") is None:
        pytest.skip("NOT RUN, docker-compose.yml without its secrets: apt install docker-compose")
    shutil.copy(COMPOSE, folder)
    return run(["docker-compose", "config"], env, folder)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_compose_starts_nothing_without(name: str, tmp_path: Path) -> None:
    done = config(tmp_path, environment(tmp_path, without=name))
    assert done.returncode != 0 and name in done.stdout and "set it in .env" in done.stdout


def test_nothing_is_started_that_may_change_by_itself(tmp_path: Path) -> None:
    shown = said(config(tmp_path, environment(tmp_path)))
    images = set(re.findall(r"image: (\S+)", shown))
    assert f"testum:{__version__}" in images and len(images) == 4
    assert not [image for image in images if image.endswith(":latest") or ":" not in image]
    # Nothing of a folder that is not there where the file is pasted.
    assert not re.search(r"^ +(build|env_file):", shown, re.MULTILINE)
    mounted = re.findall(r"^ +- ([^\s:]+):/\S+:r[ow]$", shown, re.MULTILINE)
    assert sorted(mounted) == ["postgres-data", "redis-data", "s3-data"]


def test_what_the_operator_sets_reaches_testum(tmp_path: Path) -> None:
    own = {
        "MINIO_ENDPOINT": "s3.example.com:443",
        "MINIO_SECURE": "true",
        "MINIO_REGION": "eu-1",
        "MINIO_ENCRYPTION": "aws:kms",
        "MINIO_KMS_KEY_ID": "key-1",
        "WORKER_DRAIN_SECONDS": "300",
        "TASK_CONCURRENCY": "7",
    }
    services = yaml.safe_load(said(config(tmp_path, environment(tmp_path) | own)))["services"]
    for name in ("migrate", "web", "worker"):
        assert own.items() <= services[name]["environment"].items(), name
    # A minute more than the worker may take.
    assert services["worker"]["stop_grace_period"] == "1m300s"


def test_the_defaults_of_compose_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load(said(config(tmp_path, environment(tmp_path))))["services"]
    for name, value in services["worker"]["environment"].items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.minio_endpoint, settings.minio_secure, settings.minio_encryption) == (
        "s3:8333",
        False,
        "",
    )
    assert services["worker"]["stop_grace_period"] == f"1m{settings.worker_drain_seconds:.0f}s"


def test_any_machine_has_the_processors_of_the_defaults(tmp_path: Path) -> None:
    services = yaml.safe_load(said(config(tmp_path, environment(tmp_path))))["services"]
    # Docker refuses a container that may use more than there are.
    assert {service["cpus"] for service in services.values()} == {1}


def test_the_upgrade_of_the_guide_names_another_image(tmp_path: Path) -> None:
    env = {name: value for name, value in environment(tmp_path).items() if name != "TESTUM_TAG"}
    said(run(["sh", "-c", code("compose.md", "sh", "POSTGRES_PASSWORD")], env, tmp_path))
    [sed] = re.findall(r"^\$ (sed .* \.env)$", (GUIDE / "compose.md").read_text(), re.MULTILINE)
    said(run(["sh", "-c", sed], env, tmp_path))
    assert "image: testum:0.2.0" in said(config(tmp_path, env))
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
