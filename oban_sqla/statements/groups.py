"""What is wrong with batches and chains, for the doctor."""

from typing import Any

from sqlalchemy import Executable, Integer, Text, cast, exists, func, literal_column, select

from ..models.batch import batches
from ..models.job import jobs
from ..models.news import news
from .holding import has_turn, is_holding
from .statement import is_open, parameter, state, statement


@statement
def group_troubles() -> Executable:
    """Up to `most` of each: chains that a discarded job has `held`, with the id of `one`; chains whose `idle` jobs wait
    for none, and of which there are no news; and, of the newest 10,000, `batches` all of whose jobs have finished and
    that don't know it."""
    most = parameter("most", Integer)
    other = jobs.alias("other")
    behind = exists().where(other.c.chain_key == jobs.c.chain_key, other.c.state == state("suspended"))
    held = select(jobs.c.id).where(jobs.c.chain_key.is_not(None), is_holding(), behind).limit(most).cte("held")
    waiting = (
        select(jobs.c.chain_key)
        .where(jobs.c.chain_key.is_not(None), jobs.c.state == state("suspended"))
        .limit(most)
        .subquery("waiting")
    )
    active = exists().where(other.c.chain_key == waiting.c.chain_key, has_turn(other))
    holding = exists().where(other.c.chain_key == waiting.c.chain_key, is_holding(other))
    told = exists().where(news.c.chain_key == waiting.c.chain_key)
    idle = select(waiting.c.chain_key).distinct().where(~active, ~holding, ~told).subquery("idle")
    unfinished = exists().where(
        other.c.batch_id == batches.c.id,
        other.c.batch_id.is_not(None),
        is_open(other.c.state),
    )
    recent = select(func.max(batches.c.id) - literal_column("10000")).scalar_subquery()
    told_of = exists().where(news.c.batch_id == batches.c.id)
    ended = (
        select(batches.c.id)
        .where(batches.c.id > recent, batches.c.finished_at.is_(None), ~unfinished, ~told_of)
        .limit(most)
        .subquery("ended")
    )
    counted: list[Any] = [
        select(func.count()).select_from(one).scalar_subquery().label(name)
        for name, one in (("held", held), ("idle", idle), ("batches", ended))
    ]
    first = select(func.min(held.c.id)).scalar_subquery().label("one")
    return select(*counted, cast(first, Text).label("one"))
