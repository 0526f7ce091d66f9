"""Changes of the crontab: run an entry now, pause, resume and delete it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from ..ask import Ask, Content, NotFound, Wrong
from .form import Form

VERBS = ("run", "pause", "resume", "delete")


async def change_cron(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Change an entry of the crontab, or run it now."""
    form = Form(ask, fields)
    form.allow("crons", "change the crontab")
    name, verb = form.needed("name"), form.needed("verb")
    if verb not in VERBS:
        raise Wrong(f"verb: expected {', '.join(VERBS)}; got {verb!r}")
    crons = ask.place.oban.crons
    if verb == "delete" and not form.is_sure:
        notes = ["Its runs stay. An entry that is in the code of a node comes back when a node starts."]
        hidden = [("name", name), ("verb", verb)]
        return form.sure(f"Delete the entry {name} of the crontab?", "Delete the entry", notes, hidden)
    number = 1
    with form.audited(f"cron.{verb}", {"cron": name}):
        async with ask.place.connection():
            match verb:
                case "run":
                    number = int(not (await crons.run_now(name)).conflict)
                case "pause":
                    await crons.pause(name)
                case "resume":
                    await crons.resume(name)
                case _:
                    if not await crons.delete(name):
                        raise NotFound(f"There is no entry {name!r}.")
    return form.done(f"cron.{verb}", number)
