"""The messages by which nodes of the Oban family tell each other to pause, scale or stop: their channel and shape.

Ours are hints that a row has changed, so they may be lost; nodes of oban-py and of Elixir act on them, too. Theirs are
all there is to them, so a node that hears one writes the row. The two are told apart by their form: the notifiers of
that family pack what they send.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from typing import Any, cast

SIGNAL = "signal"

FOREIGN = "foreign"
"""The key that :func:`unpacked` adds to what another program of the family has sent."""


def signal_channel(schema: str | None) -> str:
    """The channel of the signals; the family always names the schema in it."""
    return channel(SIGNAL, schema)


def ident(name: str, node: str | None) -> str:
    """Whom a signal is for: one node of an instance, or any."""
    return "any" if node is None else f"{name}.{node}"


def unpacked(payload: str) -> dict[str, Any]:
    """A notification's payload: plain JSON, or JSON that is zipped and in base64.

    :raises ValueError: when it is neither.
    """
    try:
        if payload.startswith("{"):
            plain = cast(dict[str, Any], json.loads(payload))
            plain.pop(FOREIGN, None)  # which only this function may say
            return plain
        parsed: Any = json.loads(gzip.decompress(base64.b64decode(payload, validate=True)))
    except (OSError, EOFError, zlib.error, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return {**cast(dict[str, Any], parsed), FOREIGN: True} if isinstance(parsed, dict) else {}


INSERTED, STAGED, LEADER, CRON, NEWS, EVENTS = "insert", "stage", "leader", "cron", "news", "events"
AWAITED, SETTLED = "await", "settle"


LONGEST_CHANNEL = 63
"""Bytes: PostgreSQL refuses to notify a channel with a longer name, and cuts that of one to listen to."""


def channel(name: str, schema: str | None) -> str:
    """The NOTIFY channel `name`, apart for each schema, in the form that the whole Oban family uses.

    Where that is too long for PostgreSQL, a digest stands for the schema.
    """
    full = f"{schema or 'public'}.oban_{name}"
    if schema is None or len(full.encode()) <= LONGEST_CHANNEL:
        return full
    return f"{hashlib.sha256(schema.encode()).hexdigest()[:32]}.oban_{name}"
