"""The tests' files in memory, where the machine has room for them; and bytecode, which is kept.

A file system on a disk spends more processor time on the files of a PostgreSQL than PostgreSQL does: to truncate our
tables takes 37 ms on ext4, and 4 ms in memory.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
ENOUGH = 3 * 2**30
"""Bytes. A whole run has several servers at once, each with some hundred megabytes."""


def keep_bytecode() -> None:
    """Let this process and its children write bytecode, whatever ``PYTHONDONTWRITEBYTECODE`` says: without it, each of
    the hundreds of interpreters that the tests start would spend 0.4 s of the processor on compiling us."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def use_memory() -> None:
    """Make temporary files, of this process and its children, in memory. ``TMPDIR`` overrides it."""
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # to be determined again


def _has_room() -> bool:
    if not os.access(IN_MEMORY, os.W_OK | os.X_OK) or os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC:
        return False  # not Linux, or programs can't be started from there
    return shutil.disk_usage(IN_MEMORY).free >= ENOUGH
