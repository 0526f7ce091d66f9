"""Notifying: how a commit, or a separate statement, tells the other nodes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Text,
    column,
    func,
    select,
    true,
)

from .statement import array, statement


@statement
def notify() -> Executable:
    """Send each payload on its channel when the transaction commits."""
    return select(_sent())


@statement
def notify_at_once() -> Executable:
    """Notify in a separate transaction, which is committed without waiting for the disk.

    A notification writes a commit record like any other change. One that a crash of the server loses was a hint about
    jobs that are found without it.
    """
    return select(func.set_config("synchronous_commit", "off", true()), _sent())


def _sent() -> ColumnElement[Any]:
    given = func.unnest(array("channels"), array("payloads"))
    rows = given.table_valued(column("channel", Text), column("payload", Text)).render_derived(name="sent")
    return func.pg_notify(rows.c.channel, rows.c.payload)
