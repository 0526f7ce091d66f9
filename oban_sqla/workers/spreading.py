"""The worker of a map over a result: it returns a workflow with a job per element, which takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from ..models import JobSpec, Workflow
from ..models.building import MAP
from ..options.backoff import Backoff
from .job import job
from .outcomes import Discard
from .registry import workers


@job(name=MAP, backoff=Backoff(base=1))
async def spread(template: dict[str, Any], over: Any, outer: list[Any]) -> Workflow:
    """Make a job of each element of `over`."""
    if not isinstance(over, list):
        raise Discard(f"map: expected a list of elements, the result is {type(over).__name__}")
    flow = Workflow(cast(str, template["worker"]).rpartition(".")[2])
    flow.is_map = True
    options: dict[str, Any] = dict(template["options"])
    if "scheduled_at" in options:
        options["scheduled_at"] = datetime.fromisoformat(options["scheduled_at"])
    elements: list[Any] = over  # pyright: ignore[reportUnknownVariableType]
    for place, element in enumerate(elements):
        args: Any = template["args"]  # of which each element takes the same places
        for path, value in zip(template["outer"], outer, strict=True):
            args = _with(args, path, value)
        for path, part in template["element"]:
            args = _with(args, path, _part(element, part))
        # By name: the worker has other defaults, and may have other parameters by now. It judges what the job has when
        # that runs, as with all that is stored.
        spec: JobSpec = JobSpec(template["worker"], args, **options)
        node = flow.add(spec, name=str(place))
        if template["keeps"]:
            node.record()
    return flow


workers.hide(MAP)


def _with(value: Any, path: Sequence[str], given: Any) -> Any:
    """`value` with what is `given` at this path."""
    if not path:
        return given
    inner = value
    for key in path[:-1]:
        inner = inner[_key(inner, key)]
    inner[_key(inner, path[-1])] = given
    return value


def _key(value: Any, key: str) -> Any:
    return int(key) if isinstance(value, list) else key


def _part(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        try:
            value = value[_key(value, key)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value
