"""What the log must not show."""

import pytest
import structlog

from testum import logs


def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(password: str) -> None:
        raise ValueError("told")

    logs.configure()
    try:
        try:
            fail("hunter" + str(2))
        except ValueError:
            structlog.get_logger().exception("it failed", task="t")
    finally:
        structlog.reset_defaults()
    shown = capsys.readouterr().out
    assert "it failed" in shown and "ValueError: told" in shown and "in fail" in shown
    assert "hunter2" not in shown
