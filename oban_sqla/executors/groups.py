"""The batch or the workflow of a job in another process: the node loads it, and sends it with the call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, configure_mappers, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from ..models import Batch, Job, Workflow
from ..runtime.executors.call import Call
from ..runtime.group_of import Load
from ..types import JobState
from ..workers.worker import Worker

KINDS: Mapping[str, type[Any]] = {"batch": Batch, "workflow": Workflow}

Groups = Mapping[str, Any]
"""By parameter: the kind of a group, and its loaded values as JSON."""


def groups_asked(worker: Worker) -> dict[str, str]:
    """The kinds of groups for which `worker` asks, by parameter."""
    asked = Call.asked_by(worker)
    return {name: kind for name, one in asked.items() for kind, known in KINDS.items() if one is known}


async def sent(call: Call, loaders: Mapping[Any, Load]) -> Groups:
    """The groups for which `call` asks, to be sent with it.

    :param loaders: load a group of a row, by its class.
    :raises InvalidOption: for a job that is in no such group.
    """
    asked = groups_asked(call.worker)
    return {name: [kind, _values(await loaders[KINDS[kind]](call.row))] for name, kind in asked.items()}


def received(groups: Groups) -> dict[str, object]:
    """The objects that were sent, by parameter. They belong to no session."""
    configure_mappers()  # this may be the first use of a mapped class in this process
    return {name: _made(KINDS[kind], values) for name, (kind, values) in groups.items()}


def _values(instance: Any) -> dict[str, Any]:
    loaded = cast("dict[str, Any]", vars(instance))
    mapper: Mapper[Any] = inspect(instance).mapper
    values = {one.key: _plain(loaded[one.key]) for one in mapper.column_attrs if one.key in loaded}
    if "jobs" in loaded:
        jobs: list[Any] = loaded["jobs"]
        values["jobs"] = [_values(one) for one in jobs]
    return values


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _made(kind: type[Any], values: Mapping[str, Any]) -> object:
    mapper: Mapper[Any] = inspect(kind)
    made: Any = mapper.class_manager.new_instance()
    for name, value in values.items():
        set_committed_value(made, name, _loaded(kind, name, value))
    make_transient_to_detached(made)
    return cast(object, made)


def _loaded(kind: type[Any], name: str, value: Any) -> Any:
    if name == "jobs":
        return [_made(Job, one) for one in value]
    if name.endswith("_at") and value is not None:
        return datetime.fromisoformat(value)
    return JobState(value) if kind is Job and name == "state" else value
