"""Sends the current trace with a call to another process. Without OpenTelemetry there is no trace."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator


def carrier() -> dict[str, str]:
    """The current trace, in the form in which it travels; empty when this program does not use OpenTelemetry."""
    if "opentelemetry.propagate" not in sys.modules:
        return {}
    from opentelemetry import propagate

    sent: dict[str, str] = {}
    propagate.inject(sent)
    return sent


@contextlib.contextmanager
def attached(trace: dict[str, str]) -> Generator[None]:
    """Make `trace` the current one."""
    if not trace:
        yield
        return
    try:
        from opentelemetry import context, propagate
    except ImportError:
        yield
        return
    token = context.attach(propagate.extract(trace))
    try:
        yield
    finally:
        context.detach(token)
