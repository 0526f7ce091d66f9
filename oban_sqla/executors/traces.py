"""The trace of which a call is a part, on its way to another process. Without OpenTelemetry there is none."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator


def carrier() -> dict[str, str]:
    """The present trace, in the form in which it travels; empty where this program uses no OpenTelemetry."""
    if "opentelemetry.propagate" not in sys.modules:
        return {}
    from opentelemetry import propagate

    sent: dict[str, str] = {}
    propagate.inject(sent)
    return sent


@contextlib.contextmanager
def attached(trace: dict[str, str]) -> Generator[None]:
    """Make `trace` the present one."""
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
