"""How a child ends: together with its node, and with every process that it has started.

On Linux the kernel ends the child. The node holds the only end of a pipe that can be written to. When the node is gone,
for whatever reason, the pipe becomes readable, and the kernel sends SIGKILL to the child's whole process group, even
while C code in the child holds the interpreter's lock. On other systems a thread waits for the same pipe.

This module imports the standard library alone, because a child needs it before it imports anything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def leave_with(pipe: int) -> None:
    """From now on this process, and its process group, end when the other end of `pipe` is closed.

    :param pipe: a file descriptor to read from, to which nothing is ever written.
    """
    if sys.platform == "linux":
        _ask_kernel(pipe)
        # For a node that has forked: the fork holds a copy of the pipe's end, and may outlive the node.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_wait, args=(pipe,), name="oban-sqla life", daemon=True).start()
    # If the node has gone before, no signal comes any more.
    if select.select([pipe], [], [], 0)[0]:
        end()


def end() -> None:
    """End this process and everything in its group, at once."""
    with contextlib.suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def ignore_signals() -> None:
    """Ignore the signals that are sent to a whole service: the node receives them too, and ends its children.

    The handlers do nothing. SIG_IGN would do the same, but the programs that a job starts would inherit it.
    """
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _nothing)


def offer_to_kernel() -> None:
    """Let the kernel kill this process before the node when memory runs out."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; Python names few of the real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ask_kernel(pipe: int) -> None:
    import fcntl

    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)


def _wait(pipe: int) -> None:
    os.read(pipe, 1)
    end()


def _nothing(_signal: int, _frame: object) -> None:
    pass
