"""The main program of a child.

It is run by its path, and imports the standard library alone until the node has told it which workers it needs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

CHILD = "OBAN_SQLA_CHILD"
"""An environment variable that is set in children: there ``Oban.start()`` refuses."""


def main(calls: int, life: int) -> NoReturn:
    """Serve calls until the node leaves.

    :param calls: the file descriptor of the socket for frames.
    :param life: the file descriptor of the pipe that is closed when the node ends.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    death = _load(os.path.join(here, "death.py"))
    death.leave_with(life)
    death.ignore_signals()
    death.offer_to_kernel()
    os.environ[CHILD] = "1"
    connection = socket.socket(fileno=calls)
    first = _load(os.path.join(here, "wire.py")).receive(connection)
    if first is None:
        os._exit(0)
    setup = json.loads(first[1])
    home: Any = None
    error = ""
    try:
        home = _settle(setup, connection)
    except BaseException:
        error = traceback.format_exc()
    else:
        try:
            home.check()
        except Exception as refused:  # it says what is missing; the traceback would add nothing
            error = str(refused) if refused.__cause__ is None else traceback.format_exc()
    # Kind 10 is READY. It is not imported by name, because that import may be what has failed.
    body = json.dumps({"error": error}).encode()
    try:
        connection.sendall(struct.pack(">IB", len(body), 10) + body)
    except OSError:  # the node has gone
        os._exit(0)
    if error:
        os._exit(1)
    _serve(home, connection, death.end)
    try:
        home.performer.close()
    except BaseException:
        traceback.print_exc()
    _flush()
    os._exit(0)


def _settle(setup: dict[str, Any], connection: socket.socket) -> Any:
    """Set up this process like the node, and import what the node has imported."""
    sys.argv[:] = setup["argv"]
    sys.path[:] = setup["path"]
    os.chdir(setup["directory"])
    home_module = importlib.import_module("oban_sqla.executors.home")
    home = home_module.Home(setup, connection)
    home.prepare()  # before the modules, which may configure logging
    if setup["main"] is not None:
        _import_main(*setup["main"])
    for name in setup["modules"]:
        importlib.import_module(name)
    return home


def _import_main(kind: str, value: str) -> None:
    """Import the program's main module under the name ``__mp_main__``, as multiprocessing does."""
    from multiprocessing import spawn

    prepare: Callable[[str], None] = getattr(spawn, f"_fixup_main_from_{kind}")
    prepare(value)


def _serve(home: Any, connection: socket.socket, end: Callable[[], None]) -> None:
    """Run calls on this thread, the main one, while another thread reads."""
    wire = importlib.import_module("oban_sqla.executors.wire")
    calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def read() -> None:
        while (frame := wire.receive(connection)) is not None:
            kind, body = frame
            if kind == wire.CALL:
                home.performer.expect()
                calls.put(body)
            elif kind == wire.STOP:
                home.stop(body.decode())
            elif kind == wire.ANSWER:
                home.steps.answered(wire.fields(body))
            elif kind == wire.TAKEN:
                home.telling.answered(wire.fields(body))
        if home.performer.is_busy:
            end()
        calls.put(None)

    threading.Thread(target=read, name="oban-sqla frames", daemon=True).start()
    while (payload := calls.get()) is not None:
        answer = home.performer.perform(payload)
        _flush()
        home.send(wire.frame(wire.DONE, home.memory().to_bytes(8, "big") + answer))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the job has closed it
            stream.flush()


def _load(path: str) -> Any:
    """Load a module of this folder by its path, without the packages above it."""
    import importlib.util as util

    spec = util.spec_from_file_location(f"_oban_sqla_{os.path.basename(path)[:-3]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
