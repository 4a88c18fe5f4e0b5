"""OpenStack Swift with its S3 API, whole in one process, for `tests/support/s3.py`; runs in `.venv-s3`.

`python swift_server.py FOLDER PORT ACCESS_KEY SECRET_KEY` answers S3 on this port of 127.0.0.1 and keeps all it
has in the folder.

Swift is a proxy in front of an account, a container and an object server, otherwise a process each. As green
threads of one process they start in half a second, take a quarter of the memory, and can be paused as one.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import eventlet
from eventlet import hubs, wsgi
from swift.account.server import AccountController
from swift.common import constraints, storage_policy, utils
from swift.common.http_protocol import SwiftHttpProtocol
from swift.common.ring import RingBuilder
from swift.common.utils import logs
from swift.common.wsgi import ConfigString, loadapp
from swift.container.server import ContainerController
from swift.obj.server import ObjectController

STORES = {"account": AccountController, "container": ContainerController, "object": ObjectController}

PATIENCE = {"conn_timeout": "30", "node_timeout": "60"}
"""Seconds. On a busy machine an answer may come late; that is no broken disk, which Swift would pass over."""

PROXY = """
[DEFAULT]
swift_dir = {folder}
log_level = ERROR
{patience}

[pipeline:main]
pipeline = s3api tempauth slo proxy-server

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_upload_part_num = 10000
# A thousand in S3: whoever reads one page only, or deletes as many as there are, is found out with fewer objects.
max_bucket_listing = 50
max_multi_delete_objects = 250

[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret_key} .admin

[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
recoverable_node_timeout = 60
"""


class StderrHandler(logging.StreamHandler):
    """Stands where Swift would write to the machine's own syslog; without a lock, as Swift's."""

    def __init__(self, **_: object) -> None:
        super().__init__()

    def createLock(self) -> None:
        """Swift logs from green and real threads, which cannot wait for one another."""
        self.lock = logs.NoopMutex()


def serve(
    app: Any, port: int = 0, address: str = "127.0.0.1"
) -> tuple[eventlet.greenthread.GreenThread, int]:
    """Serve an application on a port of the loopback (or another address); its thread and its port."""
    sock = eventlet.listen((address, port), backlog=1024)
    thread = eventlet.spawn(
        wsgi.server,
        sock,
        app,
        log_output=False,
        protocol=SwiftHttpProtocol,
        # Clients of S3 look for "ETag", not for "Etag".
        capitalize_response_headers=False,
    )
    return thread, sock.getsockname()[1]


def main(folder: Path, port: int, access_key: str, secret_key: str, address: str = "127.0.0.1") -> None:
    """Serve until killed."""
    logs.ThreadSafeSysLogHandler = StderrHandler
    utils.monkey_patch()
    hubs.use_hub(utils.get_hub())
    # Swift has looked for /etc/swift/swift.conf while it was imported: what it read there does not count.
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = testum\n")
    utils.set_swift_dir(str(folder))
    constraints.reload_constraints()
    storage_policy.reload_storage_policies()
    utils.disable_fallocate()

    (folder / "devices" / "disk").mkdir(parents=True, exist_ok=True)
    settings = {
        "devices": str(folder / "devices"),
        "mount_check": "false",
        "swift_dir": str(folder),
        "fallocate_reserve": "0",
        "log_level": "ERROR",
        # No updater runs here: an object that is late for its bucket's list would stay missing there.
        "container_update_timeout": "60",
        **PATIENCE,
    }
    for name, store in STORES.items():
        _, store_port = serve(store(settings))
        # The number of partitions (2 to this power) decides where data lies: the same at every start.
        ring = RingBuilder(4, replicas=1, min_part_hours=0)
        place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": store_port, "device": "disk", "weight": 1}
        ring.add_dev(place)
        ring.rebalance()
        ring.get_ring().save(str(folder / f"{name}.ring.gz"))
    proxy = PROXY.format(
        folder=folder,
        patience="\n".join(f"{name} = {value}" for name, value in PATIENCE.items()),
        user=access_key.replace(":", "_"),
        secret_key=secret_key,
    )
    thread, _ = serve(loadapp(ConfigString(proxy)), port, address)
    thread.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
