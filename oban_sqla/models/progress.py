"""How far a running job has come: one row for a job that says so, and what it is as an attribute of :class:`Job`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Dialect,
    Double,
    Integer,
    Table,
    Text,
    TypeDecorator,
    case,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from ..types import UTCMapped
from .base import NOW, ObanBase, utc_column


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come, as it last said with :func:`progress`.

    :ivar done: how much is done, in the job's own unit; an int where it is whole.
    :ivar total: how much there is to do; None where the job did not say.
    :ivar note: a text for people; None where the job gave none.
    :ivar at: when it was written, an aware datetime.
    """

    done: float
    total: float | None
    note: str | None
    at: datetime

    @property
    def fraction(self) -> float | None:
        """How much of the whole is done, 0 to 1; None without a total, or with a total of 0."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total else None


class JobProgress(ObanBase):
    """The progress of one job. :attr:`Job.progress` is the same as an attribute."""

    __tablename__ = "oban_progress"

    job_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    done: Mapped[float] = mapped_column(Double)
    total: Mapped[float | None] = mapped_column(Double)
    at: UTCMapped[datetime] = utc_column(server_default=NOW)
    note: Mapped[str | None] = mapped_column(Text)


progress_rows = cast(Table, JobProgress.__table__)


def progress_at(job_id: ColumnElement[int]) -> ColumnElement[Progress | None]:
    """The progress of the job `job_id` as an expression, for each row of a query of jobs."""
    c = progress_rows.c
    epoch = func.extract("epoch", func.timezone(literal_column("'UTC'"), c.at))
    parts = func.jsonb_build_array(c.done, c.total, c.note, epoch)
    found = select(type_coerce(parts, _ProgressType())).where(c.job_id == job_id)
    # Without the column a select of it alone would have no FROM, and read the progress of all jobs.
    return case((job_id.is_not(None), found.correlate_except(progress_rows).scalar_subquery()))


class _ProgressType(TypeDecorator[Progress]):
    impl = JSONB
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[Progress]):
        """Parts of a progress in SQL: ``Job.progress.done``, ``.total``, ``.note``, ``.at`` and ``.fraction``."""

        @property
        def done(self) -> ColumnElement[float]:
            return _number(self.expr, 0)

        @property
        def total(self) -> ColumnElement[float | None]:
            return _number(self.expr, 1)

        @property
        def note(self) -> ColumnElement[str | None]:
            return _text(self.expr, 2)

        @property
        def at(self) -> ColumnElement[datetime]:
            return func.to_timestamp(_number(self.expr, 3), type_=TIMESTAMP(timezone=True))

        @property
        def fraction(self) -> ColumnElement[float | None]:
            part = self.done / func.nullif(self.total, 0.0, type_=Double[float]())
            # The smallest and the largest of some numbers leave out what is null.
            return case((part.is_not(None), func.least(func.greatest(part, 0.0), 1.0)))

    comparator_factory = Comparator  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return JSONB()

    def process_result_value(self, value: Any, dialect: Dialect) -> Progress | None:
        if value is None:
            return None
        done, total, note, at = value
        return Progress(_plain(done), None if total is None else _plain(total), note, datetime.fromtimestamp(at, UTC))


def _number(expression: Any, place: int) -> ColumnElement[Any]:
    return _text(expression, place).cast(Double)


def _text(expression: Any, place: int) -> ColumnElement[Any]:
    parts: ColumnElement[Any] = type_coerce(expression, JSONB())
    return parts.op("->>", return_type=Text())(literal_column(str(place), Integer))


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else value
