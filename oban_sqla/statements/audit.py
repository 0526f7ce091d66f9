"""What people changed: written in the transaction of the change, and read by those who ask who it was."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import BigInteger, Executable, Integer, Select, Table, Text, delete, func, insert, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB

from ..models.base import utc_now
from ..models.seen import AuditEntry
from .lead import holds_lease
from .statement import ids, parameter, seconds_from, statement

entries = cast(Table, AuditEntry.__table__)


@statement
def record_change() -> Executable:
    """Write that `who` did `verb` to `target`, a JSON object, `via` a program; it changed so many `jobs`."""
    return insert(entries).values(
        who=parameter("who"),
        via=parameter("via"),
        verb=parameter("verb"),
        target=sql_cast(sql_cast(parameter("target"), Text), JSONB),
        jobs=sql_cast(parameter("jobs", Integer), Integer),
        reason=sql_cast(parameter("reason"), Text),
    )


def newest(limit: int, before: int | None = None) -> Select[Any]:
    """The newest entries, the newest first, at most `limit`.

    :param before: only entries with a lower id than this. Default: from the newest on.
    """
    query = select(entries).order_by(entries.c.id.desc()).limit(limit)
    return query if before is None else query.where(entries.c.id < before)


@statement
def last_pauses() -> Executable:
    """Who paused a queue last, the newest of the last 1,000 changes first: when, who, why, and of which target."""
    lately = select(entries).order_by(entries.c.id.desc()).limit(1_000).subquery("lately")
    columns = (lately.c.at, lately.c.who, lately.c.reason, lately.c.target)
    return select(*columns).where(lately.c.verb == "queue.pause").order_by(lately.c.id.desc())


@statement
def prune_audit() -> Executable:
    """Delete up to `limit` entries that are older than `seconds`. Returns their number."""
    old = utc_now() - seconds_from(parameter("seconds", BigInteger))
    # In the order of the ids, which is that of the times, so that it reads no more than it deletes.
    first = select(entries.c.id, entries.c.at).order_by(entries.c.id).limit(parameter("limit", Integer))
    oldest = first.subquery("oldest")
    found = ids(select(oldest.c.id).where(oldest.c.at < old))
    gone = delete(entries).where(entries.c.id == func.any(found), holds_lease()).returning(entries.c.id).cte("gone")
    return select(func.count()).select_from(gone)
