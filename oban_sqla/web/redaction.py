"""What is shown of the arguments of a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..insight.search import contained
from ..models import Job
from ..options.encryption import is_sealed
from ..telemetry import node_logger as logger
from .ask import Redact


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a job's arguments.

    :ivar kind: ``"plain"``: `value`; ``"redacted"`` or ``"encrypted"``: only that.
    :ivar value: as JSON has it.
    """

    kind: Literal["plain", "redacted", "encrypted"]
    value: Any = None


def shown(job: Job, redact: Redact | None) -> Shown:
    """What is shown of the arguments of `job`. Where `redact` fails, nothing is."""
    if is_sealed(job.args):
        return Shown("encrypted")
    if redact is None:
        return Shown("plain", job.args)
    try:
        value = redact(job)
        if value is None:
            return Shown("redacted")
        return Shown("plain", json.loads(json.dumps(value, default=str)))
    except Exception:
        logger.exception("dashboard: redact failed for job %d, so its arguments are not shown", job.id)
        return Shown("redacted")


def matches(of: Shown, wanted: tuple[tuple[str, str], ...]) -> bool:
    """Whether what is shown has these keys and values: a search must not find what is not shown."""
    return of.kind == "plain" and all(_within(of.value, contained(key, text)) for key, text in wanted)


def _within(value: object, part: object) -> bool:
    if isinstance(part, dict) and isinstance(value, Mapping):
        given = cast(Mapping[str, object], value)
        return all(key in given and _within(given[key], one) for key, one in cast("dict[str, object]", part).items())
    return value == part
