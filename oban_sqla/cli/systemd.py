"""Tells systemd that the service runs, for units with ``Type=notify``."""

from __future__ import annotations

import os
import socket

from ..telemetry import node_logger as logger

READY, STOPPING = "READY=1", "STOPPING=1"


def tell(state: str) -> None:
    """Send `state` to systemd, if it has started this process and waits for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect("\0" + address[1:] if address.startswith("@") else address)
            line.send(state.encode())
    except OSError as error:
        logger.warning("could not tell systemd %s at NOTIFY_SOCKET=%s: %s", state, address, error)
