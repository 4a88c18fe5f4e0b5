"""How a host says that a command ended: any number of 32 bits, or nothing at all (RFC 4254, section 6.10)."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.device import Device
from tests.support.server import Api
from tests.support.tools import unique

pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


def _run(api: Api, device: Device, command: str) -> Any:
    platform = api.post(
        "/platforms/",
        {
            "name": unique("device"),
            "host": "127.0.0.1",
            "port": device.port,
            "username": device.username,
            "auth_method": "password",
            "password": device.password,
            "shell": "plain",
        },
    )
    return api.run(command, targets={"platform_ids": [platform["id"]]})


@pytest.mark.parametrize("status", [1, 255, 256, 65536, 2**31, 2**32 - 1])
def test_only_zero_is_success(api: Api, device: Device, status: int) -> None:
    task = _run(api, device, f"end {status}")
    assert (task["status"], task["error_code"], task["exit_code"]) == ("failed", "exit_status", status)
    assert str(status) in task["error_message"] and task["stdout"] == "of the device\n"


def test_zero_is(api: Api, device: Device) -> None:
    assert _run(api, device, "end 0")["status"] == "success"


def test_no_status_is_no_success(api: Api, device: Device) -> None:
    task = _run(api, device, "show version")
    assert (task["status"], task["error_code"], task["exit_code"]) == ("failed", "no_exit_status", None)
    assert "None" not in task["error_message"] and task["stdout"] == "of the device\n"
