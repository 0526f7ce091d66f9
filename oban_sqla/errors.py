"""Everything this package raises.

* ObanError
    * InvalidOption (also a ValueError): an option or a field of a spec has a value that it can't have
        * NotAWorker (also an AttributeError): a class that inherits from a worker, and is not decorated
    * InvalidArgs (also a ValueError): the arguments of a job don't fit its worker, or JSON can't carry them
    * WorkerConflict: two workers under one name
    * UnknownWorker (also a LookupError): a name that no worker of this process has
    * UnsupportedDatabase: the session or engine does not speak to PostgreSQL
    * DatabaseUnavailable: the database did not answer in time
    * SchemaOutdated: the tables are missing or older than this package
    * JobTimeout (also a TimeoutError): a job ran longer than its timeout
    * ResultTimeout (also a TimeoutError): an awaited job was not finished in time
    * SignalTimeout (also a TimeoutError): no signal came before the deadline of a wait
    * JobFailed: an attempt of an awaited job failed
        * JobDiscarded: and it was the last one
    * JobCancelled: an awaited job was cancelled
    * Fenced: a run finished after its job had been given to another one; nothing was written
    * NotInJob (also a RuntimeError): a function for running jobs was called outside of a job
    * EmbeddedError (also a RuntimeError): the embedded PostgreSQL could not be found, started or used
    * KeyMissing: no key of this process opens what is encrypted
    * ChildDied: the child process that ran a job ended before it had answered

Every message says what was given, what was expected, and what to do. What was given may be the URL of a database, in
the wrong place: no message has a password of one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

_PASSWORD = re.compile(r"""(://[^\s:/@'"]*:)(?!password@)[^\s'"]+(?=@)""")
"""Of a URL; not the word with which messages say where it belongs."""


class ObanError(Exception):
    """Base of all errors of this package."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_passwords(one) if isinstance(one, str) else one for one in args))

    def __reduce__(self) -> tuple[Any, ...]:
        return remade, (type(self), self.args), self.__dict__


def without_passwords(text: str) -> str:
    """`text` with *** for the password of each URL in it."""
    return _PASSWORD.sub(r"\1***", text) if "://" in text else text


def remade(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception that was pickled or copied, without its ``__init__``, which takes other arguments than it keeps."""
    made = cls.__new__(cls, *args)
    made.args = args  # those of an OSError, such as a TimeoutError, are only set by its `__init__`
    return made


class InvalidOption(ObanError, ValueError):
    """An option or a field of a spec has a value that it can't have."""


class NotAWorker(InvalidOption, AttributeError):
    """A class that inherits from a worker is used as one, and is not decorated.

    It is an AttributeError, too, for programs that only look whether a class has an attribute.
    """


class InvalidArgs(ObanError, ValueError):
    """The arguments of a job don't fit its worker, or JSON can't carry them. Names the parameter."""


class WorkerConflict(ObanError):
    """Two different workers want the same name."""


class UnknownWorker(ObanError, LookupError):
    """No worker of this process has that name."""


class UnsupportedDatabase(ObanError):
    """The session or engine does not speak to PostgreSQL."""


class DatabaseUnavailable(ObanError):
    """The database did not answer in time, or could not be reached; the message says what is not known then."""


class SchemaOutdated(ObanError):
    """The tables are missing, or older than this package needs."""


class JobTimeout(ObanError, TimeoutError):
    """A job ran longer than its timeout."""


class ResultTimeout(ObanError, TimeoutError):
    """The job that was waited for was not finished in time. It may still finish later."""


class SignalTimeout(ObanError, TimeoutError):
    """The signal that a job has waited for did not come before the deadline."""


class JobFailed(ObanError):
    """An attempt of the job that was waited for failed.

    :ivar job_id: of that job.
    :ivar error: the last entry of its errors as text; empty when there is none.
    """

    def __init__(self, message: str, job_id: int, error: str) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.error = error


class JobDiscarded(JobFailed):
    """The job that was waited for failed for good."""


class JobCancelled(ObanError):
    """The job that was waited for was cancelled.

    :ivar job_id: of that job.
    """

    def __init__(self, message: str, job_id: int) -> None:
        super().__init__(message)
        self.job_id = job_id


class Fenced(ObanError):
    """A run finished after its job had been rescued, cancelled or deleted. Its effects were rolled back."""


class KeyMissing(ObanError):
    """What is encrypted can't be read: no key of this process opens it, or it was encrypted for another worker."""


class ChildDied(ObanError):
    """The child process that ran a job ended before it had answered. The message says how."""


class NotInJob(ObanError, RuntimeError):
    """A function that only a running job can use was called outside of a job."""


class EmbeddedError(ObanError, RuntimeError):
    """The embedded PostgreSQL could not be found, started or used."""


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise :class:`InvalidOption` for the first name of `given` that is not in `known`, with the nearest one."""
    known = sorted(known)
    for name in given:
        if name not in known:
            raise unknown_option(name, known, what)


def unknown_option(name: str, known: Iterable[str], what: str) -> InvalidOption:
    """The error for an option `name` that `what` does not have; `known` are those that it has."""
    known = sorted(known)
    of_queue = name in OF_A_QUEUE and name not in known and "queue" in known
    hint = LIMITS_ARE_OF_QUEUES if of_queue else nearest(name, known)
    return InvalidOption(f"unknown option {name!r} for {what}: {hint}")


OF_A_QUEUE = {"concurrency", "global_limit", "limit", "max_concurrency", "partition", "rate", "rate_limit"}
"""Options of a queue that other queues, or readers in a hurry, look for at a worker."""

LIMITS_ARE_OF_QUEUES = (
    "limits belong to queues; give the worker its own one, as queue='calls', and the limits to that: "
    "Oban(queues={'calls': Queue(10, rate_limit=RateLimit(100, 60))})"
)

ELSEWHERE = {
    "_defer_by": "schedule_in", "_defer_until": "scheduled_at", "_expires": "deadline", "_job_id": "unique",
    "_queue_name": "queue", "actor_name": "name", "at_front": "priority", "attempts": "max_attempts",
    "autoretry_for": "retry_for", "beat_schedule": "crontab", "concurrency": "limit", "countdown": "schedule_in",
    "default_retry_delay": "backoff", "delay": "schedule_in", "dont_autoretry_for": "discard_for",
    "dsn": "database_url", "eta": "scheduled_at", "expires": "deadline", "ignore_result": "recorded",
    "job_id": "unique", "job_timeout": "timeout", "keep_result": "recorded", "key": "by", "limit": "allowed",
    "local_limit": "limit", "lock": "chain", "max_age": "deadline", "max_jobs": "queues",
    "max_retries": "max_attempts", "middleware": "hooks", "on_failure": "hooks", "on_startup": "resources",
    "on_success": "hooks", "per": "period", "periodic": "cron", "queueing_lock": "unique", "rate": "rate_limit",
    "retries": "max_attempts", "retry": "max_attempts", "retry_backoff": "backoff", "retry_backoff_max": "backoff",
    "retry_delay": "backoff", "retry_jitter": "backoff", "retry_kwargs": "max_attempts",
    "run_at": "scheduled_at", "schedule": "cron", "schedule_at": "scheduled_at", "soft_time_limit": "timeout",
    "store_result": "recorded", "store_results": "recorded", "task_id": "unique", "throws": "discard_for",
    "time_limit": "timeout", "ttl": "deadline", "window": "period",
}  # fmt: skip
"""What other queues call the options of this one."""


def misfit(fn: Callable[..., object], *given: object) -> str | None:
    """Why a call of `fn` with these arguments raises a TypeError; None if it fits, or is of C and does not say."""
    try:
        inspect.signature(fn).bind(*given)
    except TypeError as error:
        return str(error)
    except ValueError:
        return None
    return None


def closest(name: str, known: Iterable[str], *, by_end: bool = True) -> str | None:
    """The one of `known` that is most like `name`, or has it as one of its words; None if there is none.

    :param by_end: whether the last parts of dotted names have to be alike, too: all workers of a module begin alike.
    """
    last = name.rpartition(".")[2]
    alike = (one for one in _alike(name, known) if not by_end or _alike(last, [one.rpartition(".")[2]]))
    return next(alike, None)


def _alike(name: str, known: Iterable[str]) -> list[str]:
    import difflib  # only when something is wrong

    known = sorted(known)
    if name in ELSEWHERE and ELSEWHERE[name] in known:
        return [ELSEWHERE[name]]
    return difflib.get_close_matches(name, known, n=5) or [
        one for one in known if name in one.replace(".", "_").split("_")
    ]


def nearest(name: str, known: Iterable[str], *, by_end: bool = True) -> str:
    """What a message says after a `name` that is not `known`: the closest one, or all that there are.

    :param by_end: as for :func:`closest`.
    """
    known = sorted(known)
    near = closest(name, known, by_end=by_end)
    every = f"there are: {', '.join(known)}" if known else "there are none"
    return f"did you mean {near!r}?" if near else every


def unknown(what: str, name: str, known: Iterable[str]) -> InvalidOption:
    """The error for the `name` of a queue, node or the like that is not `known`."""
    return InvalidOption(f"unknown {what} {name!r}: {nearest(name, known)}")
