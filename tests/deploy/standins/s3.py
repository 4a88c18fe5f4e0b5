"""Stands in for SeaweedFS's S3 gateway: the same port, the same variables for its key, the same question for health."""

import os
import sys
from pathlib import Path
from typing import Any

import swift_server

PORT = 8333

assert sys.argv[1] == "server" and "-s3" in sys.argv, f"not what SeaweedFS would do with {sys.argv[1:]}"
load = swift_server.loadapp


def healthy(application: Any) -> Any:
    def answer(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/healthz":
            return application(environ, start_response)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    return answer


swift_server.loadapp = lambda config: healthy(load(config))
swift_server.main(
    Path("/data"), PORT, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "0.0.0.0"
)
