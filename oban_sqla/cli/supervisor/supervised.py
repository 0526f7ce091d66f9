"""The side of a process that a supervisor has started: it hears when to stop, and says that it is ready."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ...runtime.share import Share, take

VARIABLE = "OBAN_SQLA_SUPERVISED"
"""The environment variable that tells a process, as JSON, that it has a supervisor."""
READY, STOP, LEAVE = b"r", b"s", b"k"
"""What the process tells the supervisor when its runtime has started; what the supervisor tells it after the first
signal, and after the second."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """This process, as its supervisor sees it.

    :ivar share: which of the node's processes it is.
    :ivar line: the socket to the supervisor.
    :ivar log_lock: the descriptor of a file that is locked while a line of the log is written.
    :ivar health: the path of the socket at which it answers health checks; None for none.
    """

    share: Share
    line: socket.socket
    log_lock: int
    health: Path | None

    def is_ready(self) -> None:
        """Tell the supervisor that the runtime has started."""
        with contextlib.suppress(OSError):  # the supervisor is gone; `listen` hears that, too
            self.line.send(READY)

    def listen(self, stop: Callable[[], None], leave: Callable[[], None]) -> None:
        """Call `stop` when the supervisor says so or has ended, and `leave` after the second signal.

        They are called in a thread, because a job may block the event loop.
        """

        def hears() -> None:
            while True:
                try:
                    said = self.line.recv(1)
                except OSError:
                    said = b""
                if said == LEAVE:
                    leave()
                stop()
                if not said:
                    return

        threading.Thread(target=hears, name="oban_sqla supervised", daemon=True).start()


def environment(share: Share, line: int, log_lock: int, health: str) -> dict[str, str]:
    """The environment variable for a process that is started now.

    :param line: the descriptor of the socket to the supervisor.
    :param log_lock: the descriptor of the file to lock while a line of the log is written.
    :param health: the path of the socket at which it answers health checks; empty for none.
    """
    given = {**asdict(share), "line": line, "log_lock": log_lock, "health": health}
    return {VARIABLE: json.dumps(given)}


@cache
def supervised() -> Supervised | None:
    """What the supervisor has given this process; None for a process without a supervisor.

    The variable is read once and removed, because a program that a job starts has no supervisor.
    """
    if not (given := os.environ.pop(VARIABLE, "")):
        return None
    fields = json.loads(given)
    share = Share(fields["index"], fields["of"], fields["node"])
    take(share)
    line = socket.socket(fileno=fields["line"])
    for descriptor in (fields["line"], fields["log_lock"]):
        os.set_inheritable(descriptor, False)
    return Supervised(share, line, fields["log_lock"], Path(fields["health"]) if fields["health"] else None)
