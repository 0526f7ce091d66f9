"""Attributes that the objects of other queues have: who looks for one here is told what there is instead."""

from __future__ import annotations

from collections.abc import Mapping

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
}
"""Of an application or broker, such as Celery's app."""


def refuse_foreign(cls: type, instead: Mapping[str, str]) -> None:
    """Let attributes that `cls` does not have say, in the AttributeError, what there is instead.

    :param instead: what to say, by the name of the attribute.
    """
    for name, said in instead.items():
        if not hasattr(cls, name):
            setattr(cls, name, _Foreign(name, said))


class _Foreign:
    """An attribute that there is not. Objects may be given one of the name, and classes below have one."""

    def __init__(self, name: str, instead: str) -> None:
        self._name = name
        self._instead = instead

    def __get__(self, instance: object, owner: type) -> object:
        what = f"type object {owner.__name__!r}" if instance is None else f"{owner.__name__!r} object"
        given = owner if instance is None else instance
        raise AttributeError(f"{what} has no attribute {self._name!r}; {self._instead}", name=self._name, obj=given)
