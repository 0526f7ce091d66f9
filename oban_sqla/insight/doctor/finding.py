"""What a check finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    :ivar status: ``"ok"``; ``"warning"`` (it works now, but it may fail or get slow); ``"problem"`` (something does not
        work, or jobs may be lost or run twice); ``"skipped"`` (the check could not be made).
    :ivar found: what was found, one sentence without a full stop.
    :ivar why: why that matters; blank if all is well.
    :ivar advice: what to do; blank if all is well.
    :ivar check: the name of the check.
    """

    status: Status
    found: str
    why: str = ""
    advice: str = ""
    check: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The finding as a dict that ``json.dumps`` accepts."""
        return asdict(self)


def ok(found: str) -> Finding:
    return Finding("ok", found)


def warning(found: str, why: str, advice: str) -> Finding:
    return Finding("warning", found, why, advice)


def problem(found: str, why: str, advice: str) -> Finding:
    return Finding("problem", found, why, advice)


def skipped(found: str) -> Finding:
    return Finding("skipped", found)
