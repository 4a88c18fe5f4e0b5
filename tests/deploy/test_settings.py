"""docker-compose.yml and .env.example know every setting, and Compose starts nothing without the secrets."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.daemon import run, said
from tests.deploy.guide import code
from testum.settings import Settings

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
NOT_IN_COMPOSE = {
    "APP_ENV", "CELERY_RESULT_BACKEND",  # nothing depends on them
    "DATA_DIR",  # the image's
    "MINIO_REGION", "MINIO_ENCRYPTION", "MINIO_KMS_KEY_ID",  # of an S3 server elsewhere
}  # fmt: skip


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


def test_compose_knows_every_setting() -> None:
    text = COMPOSE.read_text()
    named = set(re.findall(r"^ +([A-Z_]+):", text, re.MULTILINE))
    missing = {name.upper() for name in Settings.model_fields} - named - NOT_IN_COMPOSE
    assert not missing, f"docker-compose.yml passes nothing on for {missing}"


def test_env_example_has_every_variable_of_compose() -> None:
    used = dict(re.findall(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?", COMPOSE.read_text()))
    shown = documented()
    assert set(used) <= set(shown)
    # The one default that differs is said to.
    differ = {name for name, default in used.items() if default and default != shown[name]} - {
        "MINIO_ACCESS_KEY"
    }
    assert differ == {"WORKER_PROCESSES"}


def environment(folder: Path, without: str = "") -> dict[str, str]:
    """What the guide's lines make, as variables."""
    said(run(["sh", "-c", code("compose.md", "sh", "POSTGRES_PASSWORD")], os.environ, folder))
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    made = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    assert set(made) == SECRETS
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
    assert "testum:latest" in images and len(images) == 4
    assert not [
        image for image in images - {"testum:latest"} if image.endswith(":latest") or ":" not in image
    ]
    # Nothing of a folder that is not there where the file is pasted.
    assert not re.search(r"^ +(build|env_file):", shown, re.MULTILINE)
    mounted = re.findall(r"^ +- ([^\s:]+):/\S+:r[ow]$", shown, re.MULTILINE)
    assert sorted(mounted) == ["postgres-data", "redis-data", "s3-data"]
