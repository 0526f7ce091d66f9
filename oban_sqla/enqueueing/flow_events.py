"""How workflows become rows: hooks on every SQLAlchemy session, registered when the package is imported.

The mapper writes the workflows like any objects, so that they are pending, persistent and rolled back like others:

* ``before_flush`` takes out those whose unique key another one has, and refuses ``session.delete(flow)``, which would
  leave the jobs.
* ``after_flush`` writes the jobs of all workflows of the flush, and the edges between them: their ids are known then.
* ``transient_to_pending`` refuses what `merge` has made of one that is not written: it has no nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, inspect
from sqlalchemy.orm import Mapper, Session

from ..errors import InvalidOption
from ..models import Workflow
from ._sqlalchemy import pending_of
from .flow_writer import prepare_flows, write_flows
from .unit_of_work import tell_of

if TYPE_CHECKING:
    from sqlalchemy.orm import UOWTransaction

_FLOWS = "oban_sqla.flows"


@event.listens_for(Session, "before_flush")
def _prepare(session: Session, context: UOWTransaction, objects: Sequence[object] | None) -> None:
    session.info.pop(_FLOWS, None)
    for one in session.deleted:
        if type(one) is Workflow:
            raise InvalidOption(
                f"session.delete({one!r}): that would leave its jobs; delete it with them: await oban.delete(flow)"
            )
    if flows := pending_of(session, Workflow):
        prepare_flows(session, flows)


@event.listens_for(Workflow, "before_insert")
def _find_root(_mapper: Mapper[Any], _connection: Connection, flow: Workflow) -> None:
    # Of one that a listener has added when the flush was prepared already. The row of its parent is written by now.
    top = flow
    while (parent := inspect(top).dict.get("parent")) is not None:
        top = parent
    if top is not flow and inspect(flow).dict.get("root_id") is None:
        flow.root_id = inspect(top).dict.get("root_id") or top.id


@event.listens_for(Session, "transient_to_pending")
def _admit(session: Session, instance: object) -> None:
    if type(instance) is Workflow and "_nodes" not in vars(instance):
        session.expunge(instance)
        raise InvalidOption(
            "session.merge(flow): a workflow that is not written can't be merged, the copy has no jobs; add it with "
            "session.add(flow)"
        )


@event.listens_for(Session, "after_flush")
def _write(session: Session, context: UOWTransaction) -> None:
    flows = [flow for flow in pending_of(session, Workflow) if inspect(flow).dict.get("_id") is not None]
    if flows:
        session.info[_FLOWS] = write_flows(session, flows, context)


@event.listens_for(Session, "after_flush_postexec")
def _tell_written(session: Session, context: UOWTransaction) -> None:
    if specs := session.info.pop(_FLOWS, None):
        tell_of(session, specs)
