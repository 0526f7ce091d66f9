"""What a node makes of the notifications that it hears: which of its loops each of them wakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..statements import wire

if TYPE_CHECKING:
    from .node import Node

_NAMES = (
    wire.INSERTED, wire.STAGED, wire.LEADER, wire.CRON, wire.NEWS, wire.EVENTS, wire.AWAITED, wire.SETTLED,
)  # fmt: skip


class Hearing:
    """The channels to which a node listens, and what it does about a notification.

    :param node: whose loops are woken.
    :param schema: where the tables live; the channels are named by it.
    :param origin: of the node, whose own notifications tell it nothing new.
    """

    def __init__(self, node: Node, *, schema: str | None, origin: str) -> None:
        # Given, and never written again.
        self._node = node
        self._origin = origin
        self._names = {wire.channel(name, schema): name for name in _NAMES} | {wire.signal_channel(schema): wire.SIGNAL}

    @property
    def channels(self) -> list[str]:
        """The names of the channels."""
        return list(self._names)

    def heard(self, channel: str, payload: dict[str, Any]) -> None:
        """A notification has come. The payload may be anything."""
        node = self._node
        if payload.get("from") == self._origin:
            return
        match self._names.get(channel):
            case wire.INSERTED:
                node.producers.notice(str(payload.get("queue")))
            case wire.STAGED:
                if node.leadership.leads:
                    node.stager.wake()
            case wire.LEADER:
                node.leadership.wake()
            case wire.CRON:
                node.scheduler.wake()
            case wire.SIGNAL:
                node.control.hear(payload)
            case wire.NEWS if "job_id" in payload:
                node.signalled(payload["job_id"])
            case wire.NEWS:
                node.releaser.wake()
            case wire.EVENTS:
                node.readers.hear(payload)
            case wire.AWAITED | wire.SETTLED as said:
                node.waiter.heard(said, payload)
            case _:
                pass
