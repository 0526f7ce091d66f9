"""Frames between a node and its children: the length, the kind, then the body.

This module imports the standard library alone, because a child reads its first frame before it imports anything else.
A body is JSON or plain text, never a pickle, so that a value of one side can't break the other.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, cast

HEAD = struct.Struct(">IB")

SETUP, CALL, STOP, ANSWER, TAKEN = range(5)
"""What a node sends: the set-up of the child, a call, "stop the call", the answer to a question, "told is taken"."""

READY, DONE, LOG, EVENT, WOKE, ASK, TELL = range(10, 17)
"""What a child sends: its start's result, a call's result, a log record, an event, a wake-up, a question, and what its
job tells while it runs."""


def frame(kind: int, body: bytes) -> bytes:
    """A frame as bytes."""
    return HEAD.pack(len(body), kind) + body


def message(kind: int, **fields: Any) -> bytes:
    """A frame with a JSON object in it."""
    return frame(kind, json.dumps(fields, default=str).encode())


def fields(body: bytes) -> dict[str, Any]:
    """The JSON object of a frame's body."""
    return cast(dict[str, Any], json.loads(body))


def receive(connection: socket.socket) -> tuple[int, bytes] | None:
    """The next frame, read by a thread that may block; None when the other side has left."""
    head = _exactly(connection, HEAD.size)
    if head is None:
        return None
    length, kind = HEAD.unpack(head)
    body = _exactly(connection, length)
    return None if body is None else (kind, body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(size - len(parts), 1 << 20))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
