"""What is answered: the reasons, the decisive one first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps a job where it is, or says what it does.

    :ivar code: for programs, one word or two: ``"paused"``, ``"no_node"``; listed in ``docs/command-line.md``.
    :ivar text: for people, one sentence without a full stop.
    :ivar advice: the next step to take; blank when there is none.
    """

    code: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is not running, or what it is doing.

    :ivar id: of the job.
    :ivar state: its state as text; None when there is no such job. The same holds for queue and worker.
    :ivar reasons: at least one; the first is the decisive one, those after it would come next.
    """

    id: int
    state: str | None
    queue: str | None
    worker: str | None
    reasons: tuple[Reason, ...]

    @property
    def reason(self) -> Reason:
        """The decisive one."""
        return self.reasons[0]

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict of plain values that JSON can carry."""
        return asdict(self)
