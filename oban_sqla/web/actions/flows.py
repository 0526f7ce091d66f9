"""Changes of workflows as a whole: cancel, retry and delete."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ...insight.glance import FAR
from ...models import Workflow
from ...statements.graphs import count_in_tree, one_flow
from ..ask import Ask, Content, NotFound, Wrong
from ..words import plural
from .form import Form

VERBS = ("cancel", "retry", "delete")


async def change_flow(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Change a workflow with all of its jobs."""
    form = Form(ask, fields)
    form.allow("flows", "change workflows")
    id, verb = form.number("id"), form.needed("verb")
    if verb not in VERBS:
        raise Wrong(f"verb: expected {', '.join(VERBS)}; got {verb!r}")
    oban = ask.place.oban
    if verb != "retry" and not form.is_sure:
        return await _confirm(form, id, verb)
    with form.audited(f"flow.{verb}", {"workflow": id, "node": form.text("node")}):
        async with ask.place.connection(), AsyncSession(ask.place.engine) as session, session.begin():
            flow = None if id is None else await session.get(Workflow, id)
            if flow is None:
                raise NotFound(f"There is no workflow {id}.")
            match verb:
                case "cancel":
                    changed = await oban.cancel(flow, session)
                case "retry":
                    changed = await oban.retry(flow, session, from_node=form.text("node"))
                case _:
                    changed = await oban.delete(flow, session)
    return form.done(verb, changed, "flows" if verb == "delete" else f"flow/{id}")


async def _confirm(form: Form, id: int | None, verb: str) -> Content:
    def read(connection: Connection) -> tuple[str, int] | None:
        row = None if id is None else connection.execute(one_flow(id)).one_or_none()
        return None if row is None else (row.name, connection.execute(count_in_tree(row.id, FAR + 1)).scalar_one())

    found = await form.ask.place.read(read)
    if found is None or id is None:
        raise NotFound(f"There is no workflow {id}.")
    name, number = found
    what = f"{verb.capitalize()} {plural(number, 'job') if number <= FAR else f'more than {FAR:,} jobs'}"
    notes = [
        f"All jobs of the workflow {name}, with those of the workflows inside it.",
        "Those that wait are cancelled at once, running ones are asked to stop."
        if verb == "cancel"
        else "The workflow and its jobs can't be brought back.",
    ]
    return form.sure(f"{what}?", what, notes, [("id", str(id)), ("verb", verb)])
