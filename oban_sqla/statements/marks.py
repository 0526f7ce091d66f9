"""What the package itself notes in the meta of a job. It stays when the meta is replaced."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, case, cast, column, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB

MARKS = (
    *("keep_result", "batch_id", "callback", "otel"),
    *("waiting", "slept", "snoozed", "begun", "rescued", "crashes"),
    *("debounce", "debounced", "missing_key", "unknown_worker", "unknown_executor"),
    *("cron", "cron_name", "cron_expr", "cron_tz", "cron_at"),
)
"""Whose value is kept, where the job comes from, what has become of it so far, and why it waits."""

HAS_BEGUN = ("begun", "rescued", "slept", "snoozed")
"""Those of a job that has begun before, although its attempts do not say so: its deadline is over."""

_EMPTY = cast(literal_column("'{}'"), JSONB)


def with_marks(meta: ColumnElement[Any], before: ColumnElement[Any], *more: str) -> ColumnElement[Any]:
    """`meta` in the place of the one that was there `before`, with the marks of that, and `more` of its keys."""
    was = case((func.jsonb_typeof(before) == literal_column("'object'"), before), else_=_EMPTY)
    each = func.jsonb_each(was).table_valued(column("key", Text), column("value", JSONB)).render_derived(name="each")
    one = each.alias("each")
    names = literal_column("'{" + ",".join((*MARKS, *more)) + "}'::text[]", ARRAY(Text))
    kept = select(func.jsonb_object_agg(one.c.key, one.c.value)).select_from(one).where(one.c.key == func.any(names))
    return func.coalesce(kept.scalar_subquery(), _EMPTY, type_=JSONB()).op("||", return_type=JSONB())(meta)
