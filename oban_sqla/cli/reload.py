"""``oban-sqla start --reload``: starts the worker process again whenever a file of the program has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from ..executors.interpreter import interpreter
from .signals import to_stop

INTERVAL = 0.5
"""Seconds between two looks at the files."""

RELOADER = "OBAN_SQLA_RELOADER"
"""An environment variable of a process that ``--reload`` has started: the descriptor of a pipe. A read on it ends when
the process with ``--reload`` is gone."""
_SKIPPED = ("node_modules", "__pycache__", "site-packages")


def reloading(arguments: Sequence[str], folder: Path) -> int:
    """Run ``oban-sqla`` with `arguments` in a child, and again whenever a ``.py`` file in `folder` has changed.

    :returns: the exit code of the last child, after this process was asked to stop.
    """
    asked = threading.Event()
    child: subprocess.Popen[bytes] | None = None
    told: list[subprocess.Popen[bytes] | None] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        told.append(child)
        # A terminal sends Ctrl-C to the child as well, and a second signal would end it at once.
        if child is not None and not (number == signal.SIGINT and sys.stdin is not None and sys.stdin.isatty()):
            child.send_signal(number)
        asked.set()

    for number in to_stop():
        signal.signal(number, stop)
    life, _held = os.pipe()  # only this process has the second end, so its death closes it
    environment = {**os.environ, RELOADER: str(life)}
    while True:
        seen = _times(folder)
        child = subprocess.Popen([*interpreter(), "-m", "oban_sqla", *arguments], env=environment, pass_fds=(life,))
        if asked.is_set() and child not in told:  # the signal came before the child was started
            child.terminate()
        changed = None
        while not asked.is_set() and not (changed := _changed(seen, _times(folder))):
            asked.wait(INTERVAL)
        if asked.is_set() or changed is None:
            return child.wait()
        click.echo(f"{os.path.relpath(changed, folder)} has changed: starting again", err=True)
        child.terminate()
        child.wait()
        if asked.is_set():
            return child.returncode


def end_with_reloader() -> None:
    """Send SIGTERM to this process when the process with ``--reload`` that has started it is killed."""
    if given := os.environ.pop(RELOADER, ""):
        life = int(given)
        os.set_inheritable(life, False)
        threading.Thread(target=_stop_after, args=(life,), name="oban_sqla reloaded", daemon=True).start()


def _stop_after(life: int) -> None:
    os.read(life, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _times(folder: Path) -> dict[str, int]:
    return dict(_files(folder))


def _files(folder: str | Path) -> Iterator[tuple[str, int]]:
    """The ``.py`` files below `folder`, and when each was written, without hidden folders and virtual environments."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.name.endswith(".py") and entry.is_file():
                yield entry.path, entry.stat().st_mtime_ns
        except OSError:
            continue  # it has just been removed


def _changed(before: dict[str, int], now: dict[str, int]) -> str | None:
    """A file that was added, removed or written; None when there is none."""
    return next((path for path in before.keys() | now.keys() if before.get(path) != now.get(path)), None)
