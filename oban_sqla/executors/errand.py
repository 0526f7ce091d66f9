"""A call as bytes, and its answer as bytes: JSON in both directions, so that either side may be another machine."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy.exc import DBAPIError

from ..errors import Fenced, InvalidOption, ObanError
from ..options.job_logs import JobLogs
from ..options.payload import storable
from ..runtime.acks import LONGEST_ERROR, Ack
from ..runtime.executors.call import Call, Judged, Raised
from ..runtime.row import Row, row_of
from ..runtime.traceback_text import bare_text, frames_text
from ..statements.fetch import FETCHED
from ..telemetry.database_error import described, of_database
from ..workers.outcomes import Cancel, Discard
from ..workers.registry import MAIN, default_name
from ..workers.worker import Worker
from .factories import Names
from .groups import Groups

VERSION = 1
_TIMES = frozenset(name for name in FETCHED if name.endswith("_at"))


class ChildError(ObanError):
    """What a job has raised in another process, as far as it can travel.

    :ivar kind: the name of the exception's type.
    :ivar said: the message. It is not called `message`, because Sentry would show that attribute instead of the text.
    :ivar trace: the traceback, as text.
    """

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.said = message
        self.trace = trace
        self.places: str | None = None
        """The traceback without messages, where the worker's arguments are encrypted. Written by `judged`."""
        if trace:  # as a note it is printed with the error, whose own traceback shows only this process
            self.add_note(trace.rstrip())


@dataclass(frozen=True, slots=True)
class Errand:
    """A call that was sent here."""

    row: Row
    module: str
    """The module in which the node has registered the worker; imported when this process does not know the worker."""
    trace: dict[str, str]
    """The trace of which the call is a part, in the form in which it travels; empty for none."""
    factories: Names
    """The factories of the objects that the worker asks for, by parameter."""
    groups: Groups
    """The batch and the workflow of the job, where the worker asks for them."""
    keys: list[str] | None
    """The keys of encrypted arguments, for a child of the node; None where the process has its own."""
    log: JobLogs | None
    """What to keep of the log of the job, which is sent with the answer; None where nothing is kept."""


def module_of(worker: Worker) -> str:
    """The module to import for `worker`, by where this process has registered it; never by what a row says."""
    target: Any = worker.target
    name = str(target.__module__)
    return name if name not in MAIN else default_name(target).rpartition(".")[0]


def payload(
    call: Call,
    trace: dict[str, str],
    factories: Names,
    groups: Groups | None = None,
    keys: list[str] | None = None,
    log: JobLogs | None = None,
) -> bytes:
    """`call` as bytes. The arguments stay the JSON text that they are.

    :param groups: the batch and the workflow of the job, where the worker asks for them. Default: nothing.
    :param keys: of encrypted arguments, for a child of this process. Default: the other side has its own.
    :param log: what to keep of the log of the job, to be sent with the answer. Default: nothing.
    """
    row = call.row
    values = {name: _plain(getattr(row, name)) for name in FETCHED}
    body = {
        "version": VERSION,
        "row": values,
        "queue": row.queue,
        "attempted_by": row.attempted_by,
        "module": module_of(call.worker),
        "trace": trace,
        "factories": factories,
        "groups": groups or {},
        "keys": keys,
        "log": None if log is None else (log.number, log.most),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def errand(payload: bytes) -> Errand:
    """The call that `payload` carries.

    :raises InvalidOption: for the payload of another version of this package.
    """
    body = cast(dict[str, Any], json.loads(payload))
    if body.get("version") != VERSION:
        raise InvalidOption(
            f"a job for another process has the form {body.get('version')!r}, this process reads {VERSION}; "
            "both sides need the same version of oban-sqla"
        )
    values = [_loaded(name, body["row"][name]) for name in FETCHED]
    factories: Names = {name: (path, scope) for name, (path, scope) in body["factories"].items()}
    row = row_of(*values, body["queue"], body["attempted_by"])
    log = None if (given := body.get("log")) is None else JobLogs(*given)
    return Errand(row, body["module"], body["trace"], factories, body.get("groups", {}), body.get("keys"), log)


def answer(
    ack: Ack | None,
    error: BaseException | None,
    *,
    committed: bool,
    bare: bool = False,
    told: dict[str, Any] | None = None,
) -> bytes:
    """A verdict as bytes.

    :param ack: what to write about the job; None when another run has the job.
    :param error: the error that led to the verdict; None for a run that ended well.
    :param committed: whether the job's own transaction has written the ack.
    :param bare: whether the error goes without its message. Default False.
    :param told: what the job has told during the run, if that was not sent before. Default: nothing.
    """
    body = {
        "ack": None if ack is None else {name: getattr(ack, name) for name in _OUTCOME},
        "error": None if error is None else {**as_fields(error, bare), "outcome": _outcome_of(error)},
        "committed": committed,
        **({} if told is None else {"told": told}),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def unjudged(error: ChildError) -> bytes:
    """The answer of a process that could not even begin."""
    body = {"unjudged": {"kind": error.kind, "message": error.said, "trace": error.trace}}
    return json.dumps(body, separators=(",", ":")).encode()


def told(answer: bytes) -> dict[str, Any] | None:
    """What the job has told during the run, if the answer contains it."""
    found: dict[str, Any] | None = json.loads(answer).get("told")
    return found


def judged(answer: bytes, row: Row) -> Raised | Judged:
    """What `answer` says of the job in `row`."""
    body = cast(dict[str, Any], json.loads(answer))
    if "unjudged" in body:
        return Raised(ChildError(**body["unjudged"]))
    given = body["ack"]
    if given is None:
        text = "it was given to another run, or deleted; its effects were undone"
        fenced = Fenced(f"job {row.id}, attempt {row.attempt}: {text}")
        return Judged(None, fenced, False)
    error = None if (said := body["error"]) is None else _travelled(said)
    fence = (row.id, row.attempt, row.attempted_by[1], row.attempted_at)
    ack = Ack(*fence, **given, queue=row.queue, max_attempts=row.max_attempts)
    return Judged(ack, error, body["committed"])


def _travelled(said: dict[str, Any]) -> BaseException:
    """The exception of the child, made again in the node: a Cancel or a Discard, or else a ChildError."""
    if (outcome := said.get("outcome")) is not None:
        return _OUTCOMES[outcome](said["message"])
    error = ChildError(said["kind"], said["message"], said["trace"])
    error.places = said["trace"] if said.get("bare") else None
    return error


def _outcome_of(error: BaseException) -> str | None:
    return next((name for name, kind in _OUTCOMES.items() if isinstance(error, kind)), None)


_OUTCOMES = {"cancel": Cancel, "discard": Discard}
_OUTCOME = ("state", "delay", "burned", "error", "meta", "suspend", "tells")


def as_fields(error: BaseException, bare: bool) -> dict[str, Any]:
    """What travels of an error: the fields of a :class:`ChildError`.

    :param bare: whether it goes without its message.
    """
    if bare:
        trace = storable(bare_text(error), LONGEST_ERROR)
        return {"kind": type(error).__name__, "message": "", "trace": trace, "bare": True}
    if of_database(error):  # the node logs it, and the text of a database error contains the parameters
        said = described(error) if isinstance(error, DBAPIError) else ""
        trace = frames_text(error, said or type(error).__name__)
        return {"kind": type(error).__name__, "message": said, "trace": storable(trace, LONGEST_ERROR)}
    try:
        message = str(error)
    except Exception:
        message = "(its message could not be formatted)"
    trace = "".join(traceback.format_exception(error)) if not isinstance(error, ObanError) else ""
    return {
        "kind": type(error).__name__,
        "message": storable(message, LONGEST_ERROR),
        "trace": storable(trace, LONGEST_ERROR),
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _loaded(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name in _TIMES and value is not None else value
