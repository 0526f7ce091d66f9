"""Attributes that the objects of other queues have: who looks for one here is told what there is instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ENQUEUE = ("delay", "apply_async", "s", "si", "send", "enqueue", "defer", "defer_async", "kiq", "perform_async")
"""What other queues call the enqueueing of a task: Celery, dramatiq, RQ, procrastinate, taskiq, Sidekiq."""

OF_SPECS: Mapping[str, str] = {
    **dict.fromkeys((*ENQUEUE, "insert", "save"), "session.add(spec) enqueues it, in your transaction"),
    **dict.fromkeys(
        ("get", "result", "return_value", "wait", "ready"), "await oban.result(spec) waits for what the job returns"
    ),
    **dict.fromkeys(("status", "refresh"), "spec.state is that of the flush; await session.get(Job, spec.id) reads it"),
    **dict.fromkeys(("revoke", "abort"), "await oban.cancel(spec) cancels the job"),
}
"""Of a task that was sent, such as Celery's AsyncResult."""

OF_NODES: Mapping[str, str] = {
    **dict.fromkeys(
        ("add", "insert", "insert_all", "send", "send_task", "defer"),
        "session.add(fn.new(…)) enqueues in your transaction, await oban.enqueue(fn.new(…)) at once",
    ),
    **dict.fromkeys(("task", "actor", "register", "register_task"), "the decorator @job makes a function a worker"),
    "enqueue_many": "await oban.enqueue([spec, …]) takes several",
    "get_instance": "use the object that you have made; a job gets that of its node as a parameter `oban: Oban`",
    "create_pool": "Oban(engine) takes an AsyncEngine, and uses its pool: create_async_engine(async_url(url))",
    "get_job": "await session.get(Job, id) reads one, select(Job) several",
    "check_all_queues": "oban.check_queues() is the state of all queues of this node",
    "drain_queue": "await oban.until_empty() waits until no job is due; in tests oban_sqla.testing.drain runs them",
    **{
        f"{verb}_{which}": f"await oban.{verb}(…) takes an id, several of them, or a select(Job)"
        for verb in ("cancel", "retry", "delete", "update")
        for which in ("job", "many_jobs", "all_jobs")
    },
}
"""Of an application or broker, such as Celery's app, and of Oban's own ones."""

OF_OBAN = ("get_instance", "create_pool", "insert", "insert_all")
"""Those that are called on the class: by programs for oban-py, and as functions of the module Oban in Elixir."""


def answer_foreign(cls: type, instead: Mapping[str, str], on_class: Iterable[str] = ()) -> None:
    """Let objects of `cls` say what there is instead of an attribute that they don't have.

    By a ``__getattr__`` of which type checkers know nothing: what there is not stays an error for them.

    :param instead: what to say, by the name of the attribute.
    :param on_class: the names that `cls` answers itself, too. ``dir`` shows these, so they are few.
    """

    def missing(self: object, name: str) -> object:
        raise _no_attribute(self, name, instead)

    setattr(cls, "__getattr__", missing)  # noqa: B010
    for name in on_class:
        setattr(cls, name, Lacking(name, instead[name]))


def _no_attribute(found: object, name: str, instead: Mapping[str, str]) -> AttributeError:
    what = f"type object {found.__name__!r}" if isinstance(found, type) else f"{type(found).__name__!r} object"
    said = f"; {instead[name]}" if name in instead else ""
    return AttributeError(f"{what} has no attribute {name!r}{said}", name=name, obj=found)


class Lacking:
    # An attribute that a class does not have, for classes whose metaclass is not ours. Classes below it and objects may
    # have one of the name. Without a docstring, which would become that of a member where a class is documented.
    def __init__(self, name: str, instead: str) -> None:
        self._instead = {name: instead}
        self._name = name

    def __get__(self, instance: object, owner: type) -> object:
        raise _no_attribute(owner if instance is None else instance, self._name, self._instead)
