"""Changes of jobs: of one, of chosen ones, of all that a search finds, of a group of failures. At most 10,000 a time.

What changes more than one job asks first, and says how many. It works in slices, each a transaction with its row in the
audit, and ends between two slices when the browser has gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy import Connection
from starlette.responses import Response

from ...control.audit import of_ids
from ...control.changes import CANCEL, DELETE, RETRY, Change
from ...insight.failures import read as read_failures
from ...insight.search import load, search
from ..ask import Ask, Content, Wrong, whole
from ..query import is_part, searching
from ..redaction import matches, shown
from ..words import plural
from .form import Form

MOST = 10_000
"""Jobs that one form changes."""
SLICE = 1_000
CHANGES: Mapping[str, Change] = {"retry": RETRY, "cancel": CANCEL, "delete": DELETE}
SEARCH_PATIENCE = 5.0
_SAYS = {"retry": "Run again now", "cancel": "Cancel", "delete": "Delete"}
_NOTES = {
    "retry": "Finished jobs become available, and those that wait for later. Others stay as they are.",
    "cancel": "Waiting jobs are cancelled at once, running ones are asked to stop. Finished jobs stay as they are.",
    "delete": "Deleted jobs can't be brought back. Executing ones stay.",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The jobs of a form.

    :ivar ids: of them.
    :ivar what: in words.
    :ivar target: for the audit.
    :ivar cut: whether there may be more.
    """

    ids: list[int]
    what: str
    target: Mapping[str, Any]
    cut: bool = False


async def change_jobs(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Retry, cancel or delete jobs."""
    form = Form(ask, fields)
    verb = form.needed("verb")
    if (change := CHANGES.get(verb)) is None:
        raise Wrong(f"verb: expected {', '.join(CHANGES)}; got {verb!r}")
    form.allow(verb, f"{verb} jobs")
    chosen = await _chosen(form)
    if not chosen.ids:
        raise Wrong("No jobs were chosen. Tick some, or choose all that match.")
    upto = form.number("upto")
    if not form.is_sure:
        return _confirm(form, verb, chosen)
    ids = chosen.ids if upto is None else chosen.ids[:upto]
    changed = 0
    for at in range(0, len(ids), SLICE):
        if at and await ask.request.is_disconnected():
            break  # they have stopped it
        part = ids[at : at + SLICE]
        with form.audited(verb, {**chosen.target, **of_ids(part)}):
            async with ask.place.connection():
                changed += await change.make(ask.place.oban, part)
    back = "jobs" if verb == "delete" and form.back.startswith("job/") else None
    return form.done(verb, changed, back)


def _confirm(form: Form, verb: str, chosen: Chosen) -> Content:
    number = len(chosen.ids)
    again = [(name, value) for name in ("all", "q", "worker", "signature") for value in form.every(name)]
    if not form.text("all") and not form.text("signature"):
        again += [("id", str(id)) for id in chosen.ids]
    what = f"{_SAYS[verb]} {plural(number, 'job')}"
    cut = " There are more than this page changes at a time: do it again for the rest." if chosen.cut else ""
    notes = [f"{plural(number, 'job')} {chosen.what}.{cut}", _NOTES[verb]]
    if number > SLICE:
        notes.append(f"It is done in slices of {SLICE:,}. Stop loading the page to end after the slice under way.")
    hidden = [("verb", verb), ("upto", str(number)), *again]
    return form.sure(f"{what}?", what, notes, hidden, "danger" if verb == "delete" else "main")


async def _chosen(form: Form) -> Chosen:
    if (signature := form.text("signature")) is not None:
        return await _of_failure(form, form.needed("worker"), signature)
    if form.text("all") is not None:
        return await _of_search(form)
    ids = [id for text in form.every("id") if (id := whole(text)) is not None][:MOST]
    what = f"chosen: job {ids[0]}" if len(ids) == 1 else "chosen in the list"
    return Chosen(list(dict.fromkeys(ids)), what, {})


async def _of_search(form: Form) -> Chosen:
    ask = form.ask
    wanted, kept = searching(_parts(form.text("q") or ""))
    redact = ask.redact

    def read(connection: Connection) -> tuple[list[int], bool]:
        found = search(connection, wanted, MOST, patience=SEARCH_PATIENCE)
        ids = list(found.ids)
        if redact is not None and wanted.args:
            ids = [job.id for job in load(connection, ids) if matches(shown(job, redact), wanted.args)]
        return ids, found.more is not None

    ids, cut = await ask.place.read(read)
    what = " ".join(f"{name}:{value}" for name, value in kept)
    return Chosen(ids, f"that match {what}" if what else "in all", {"search": what or "all"}, cut)


def _parts(query: str) -> list[tuple[str, str]]:
    """The parts of a search. One that is not understood is refused: without it all jobs would be changed."""
    try:
        parts = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
    except ValueError:
        raise Wrong(f"q: expected the query of a list of jobs, such as state=discarded, got {query[:100]!r}") from None
    if (unknown := next((name for name, _ in parts if not is_part(name)), None)) is not None:
        raise Wrong(f"q: expected names such as state, queue or args.user_id, got {unknown[:100]!r}")
    if (blank := next((name for name, value in parts if not value.strip()), None)) is not None:
        raise Wrong(f"q: expected a value of {blank}, such as {blank}=…, got none")
    return parts


async def _of_failure(form: Form, worker: str, signature: str) -> Chosen:
    def read(connection: Connection) -> Chosen:
        found = read_failures(connection)
        group = found.find(worker, signature)
        ids = [] if group is None else group.ids[:MOST]
        error = signature if group is None else group.error
        return Chosen(ids, f"of {worker} that failed with “{error}”",
                      {"worker": worker, "error": signature}, found.cut)  # fmt: skip

    return await form.ask.place.read(read)
