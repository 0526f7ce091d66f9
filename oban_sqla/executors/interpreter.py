"""The command that starts another Python like this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable


def interpreter() -> list[str]:
    """This interpreter with the flags with which it was started (``-X``, ``-W``, ``-O``, ``-P`` …)."""
    flags: Callable[[], list[str]] | None = getattr(subprocess, "_args_from_interpreter_flags", None)
    return [sys.executable, *([] if flags is None else flags())]
