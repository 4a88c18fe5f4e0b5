"""What schemathesis must mind here: every host stays on this machine.

Loaded by `st` itself (SCHEMATHESIS_HOOKS), in its own process.
"""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Every host name that could be taken becomes the loopback's."""
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("host"), str) and 1 <= len(body["host"]) <= 255:
        body["host"] = "127.0.0.1"
