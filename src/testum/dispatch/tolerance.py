"""A message that is none of testum's must not end a worker: the messaging library lets such an error through to the worker's
main process, which ends of it, and so does the one that is started in its place and is given the next of that kind.

It leans on two private names of kombu, whose release the lock names: `Channel._brpop_read`, which takes one message, and
`QoS._delivered`, the messages that are not acknowledged.
"""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis, virtual

from testum.dispatch.messages import checked

log = structlog.get_logger(__name__)


class _Message(virtual.Message):
    """A message that has nothing in it but what testum sends."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        super().__init__(checked(payload), channel=channel, **options)  # type: ignore[no-untyped-call]


class _Tolerant:
    """Drops what cannot be delivered, and says so."""

    Message = _Message

    def _brpop_read(self: Any, **options: Any) -> Any:
        before = set(self.qos._delivered)
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (Empty, OSError, *self.connection_errors, *self.connection.channel_errors):
            raise
        except Exception as error:
            log.error(
                "dropped a message that is none of testum's", error=f"{type(error).__name__}: {error}"[:500]
            )
            for tag in set(self.qos._delivered) - before:
                self.basic_reject(tag, requeue=False)
            return True


class _Channel(_Tolerant, redis.Channel):
    pass


class _SentinelChannel(_Tolerant, redis.SentinelChannel):
    pass


def install() -> None:
    """Make it so for all connections of this process."""
    redis.Transport.Channel = _Channel
    redis.SentinelTransport.Channel = _SentinelChannel
