"""The engine that a function is given."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption


def check_engine(engine: object, what: str) -> None:
    """Refuse anything else than an ``AsyncEngine``.

    :raises InvalidOption: for that.
    """
    if not isinstance(engine, AsyncEngine):
        raise InvalidOption(
            f"{what}: expected an AsyncEngine, got {type(engine).__name__}; make one with "
            "create_async_engine(async_url(…))"
        )
