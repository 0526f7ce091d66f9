"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    :ivar status: ``"ok"``; ``"warning"``: it works, and may soon work badly; ``"problem"``: something does not work, or
        jobs may be lost or run twice; ``"skipped"``: it could not be looked at.
    :ivar found: what there is, one sentence without a full stop.
    :ivar why: why that matters; blank when all is well.
    :ivar advice: what to do.
    :ivar check: the name of the check.
    """

    status: Status
    found: str
    why: str = ""
    advice: str = ""
    check: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict of plain values that JSON can carry."""
        return asdict(self)


def ok(found: str) -> Finding:
    return Finding("ok", found)


def warning(found: str, why: str, advice: str) -> Finding:
    return Finding("warning", found, why, advice)


def problem(found: str, why: str, advice: str) -> Finding:
    return Finding("problem", found, why, advice)


def skipped(found: str) -> Finding:
    return Finding("skipped", found)
