"""What a program is told that takes a spec for a row: it is written, by the flush, and never read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapper

from ..errors import InvalidOption
from .spec import JobSpec

_BULK = (
    "oban_sqla: bulk operations of SQLAlchemy can't write specs; use session.add_all(specs), or enqueue(session, specs)"
)


@event.listens_for(Mapper, "mapper_configured")
def _refuse_relationships(mapper: Mapper[Any], class_: type[Any]) -> None:
    for prop in mapper.relationships:
        if prop.mapper.class_ is JobSpec:
            raise InvalidOption(
                f"{class_.__name__}.{prop.key}: a relationship to JobSpec, which is not a row; relate to Job instead"
            )


@event.listens_for(JobSpec, "load")
def _refuse_loads(_spec: JobSpec, _context: object) -> None:
    raise InvalidOption("a JobSpec is a job to be, and is never read; query its row: select(Job), session.get(Job, id)")


@event.listens_for(Engine, "handle_error")
def _explain_bulk(context: ExceptionContext) -> None:
    # Past the hook of the flush, the mapper writes the key alone.
    error, statement = context.sqlalchemy_exception, context.statement or ""
    if isinstance(error, IntegrityError) and "oban_jobs DEFAULT VALUES" in statement:
        error.add_note(_BULK)
