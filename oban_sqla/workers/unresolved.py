"""Annotations that can't be read."""

from __future__ import annotations

from ..errors import InvalidOption


class Unresolved(InvalidOption):
    """An annotation names what is not known, or not yet."""
