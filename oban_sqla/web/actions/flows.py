"""Changes of workflows as a whole: cancel, retry and delete."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ...models import Workflow
from ..ask import Ask, Content, NotFound, Wrong
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
