"""Whether a command may print in colours."""

from __future__ import annotations

import os


def are_unwanted() -> bool:
    """Whether the user or the terminal wants none: ``NO_COLOR`` is set (https://no-color.org), or ``TERM=dumb``."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
