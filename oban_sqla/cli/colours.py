"""Whether a command may print in colours."""

from __future__ import annotations

import os


def are_unwanted() -> bool:
    """Whether colours are not wanted: ``NO_COLOR`` is set (https://no-color.org), or ``TERM`` is ``dumb``."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
