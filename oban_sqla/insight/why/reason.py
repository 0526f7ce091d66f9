"""The answer: the reasons, the decisive one first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a job is not running, or what it is doing.

    :ivar code: for programs: ``"paused"``, ``"no_node"``, …; the documentation of the command line lists them.
    :ivar text: for people: one sentence without a full stop.
    :ivar advice: the next step to take; blank if there is none.
    """

    code: str
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is not running, or what it is doing, as :meth:`Oban.why` returns it.

    :ivar id: the id of the job.
    :ivar state: its state as text; None if there is no such job.
    :ivar queue: the name of its queue; None if there is no such job.
    :ivar worker: the name of its worker; None if there is no such job.
    :ivar reasons: a :class:`Reason` or more; the first is the decisive one.
    """

    id: int
    state: str | None
    queue: str | None
    worker: str | None
    reasons: tuple[Reason, ...]

    @property
    def reason(self) -> Reason:
        """The decisive reason."""
        return self.reasons[0]

    def as_dict(self) -> dict[str, Any]:
        """The explanation as a dict that ``json.dumps`` accepts."""
        return asdict(self)
