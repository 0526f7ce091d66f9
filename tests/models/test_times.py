"""Comparisons of times are right under any session time zone, and leave the column to its index (R1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    bindparam,
    column,
    exists,
    func,
    literal,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, aliased

from oban_sqla import InvalidOption, Job, JobSpec, JobState, Producer

HOUR = timedelta(hours=1)
TOKYO = timezone(timedelta(hours=9))
FAR_WEST = timezone(-timedelta(hours=11))

Condition = Callable[[datetime], ColumnElement[bool]]

# Number n was completed n hours and half an hour ago. What the condition takes, of now or an aware datetime of now.
FORMS: dict[str, tuple[Condition, set[int]]] = {
    "greater than the past": (lambda now: Job.completed_at > func.now() - 3 * HOUR, set(range(-100, 3))),
    "less than the past": (lambda now: Job.completed_at < func.now() - 1_998 * HOUR, {1998, 1999, 2000}),
    "less than the future": (lambda now: Job.completed_at >= func.now() + 98 * HOUR, {-100, -99}),
    "now": (lambda now: Job.completed_at > func.now(), set(range(-100, 0))),
    "sum on the right": (
        lambda now: Job.completed_at < func.now() + HOUR - 1_999 * HOUR,
        {1998, 1999, 2000},
    ),
    "transaction's other clocks": (
        lambda now: Job.completed_at > func.clock_timestamp() - HOUR,
        set(range(-100, 1)),
    ),
    "current_timestamp": (lambda now: Job.completed_at > func.current_timestamp() - HOUR, set(range(-100, 1))),
    "localtimestamp": (lambda now: Job.completed_at > func.localtimestamp() - HOUR, set(range(-100, 1))),
    "aware datetime": (lambda now: Job.completed_at > now - 2 * HOUR, set(range(-100, 2))),
    "in another zone": (lambda now: Job.completed_at > (now - 2 * HOUR).astimezone(TOKYO), set(range(-100, 2))),
    "in a western zone": (lambda now: Job.completed_at <= (now - 1_999 * HOUR).astimezone(FAR_WEST), {1999, 2000}),
    "datetime on the left": (lambda now: now - 2 * HOUR < Job.completed_at, set(range(-100, 2))),
    "literal": (lambda now: Job.completed_at > literal(now - 2 * HOUR), set(range(-100, 2))),
    "between": (lambda now: Job.completed_at.between(func.now() - 4 * HOUR, func.now() - 2 * HOUR), {2, 3}),
    "between datetimes": (lambda now: Job.completed_at.between(now - 4 * HOUR, now.astimezone(TOKYO)), {0, 1, 2, 3}),
    "between of both": (lambda now: Job.completed_at.between(now - 4 * HOUR, func.now()), {0, 1, 2, 3}),
}


def numbers(session: Session, condition: ColumnElement[bool], *values: Any) -> set[int]:
    return set(session.scalars(select(Job.args["n"].as_integer()).where(condition), *values))


@pytest.mark.parametrize("form", FORMS)
def test_comparison_gives_the_right_rows(tokyo: Session, form: str) -> None:
    condition, expected = FORMS[form]
    assert numbers(tokyo, condition(datetime.now(UTC))) == expected


# Its value changes from row to row, so that no index can be asked for it.
VOLATILE = "transaction's other clocks"


@pytest.mark.parametrize("form", [form for form in FORMS if form != VOLATILE])
def test_comparison_uses_the_index(tokyo: Session, form: str) -> None:
    condition, _ = FORMS[form]
    plan = explain(tokyo, condition(datetime.now(UTC)))
    assert "oban_jobs_completed_at_index" in plan
    assert "Seq Scan" not in plan
    # The bound is computed once, and the column is as the index has it.
    assert "Index Cond: (completed_at" in plan or "Index Cond: ((completed_at" in plan, plan


def explain(session: Session, condition: ColumnElement[bool]) -> str:
    query = select(Job.id).where(Job.state == JobState.COMPLETED, condition)
    compiled = query.compile(dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True})
    lines = session.connection().exec_driver_sql(f"EXPLAIN {compiled}".replace("%", "%%")).scalars()
    return "\n".join(lines)


def test_equality_and_lists_give_the_right_rows(tokyo: Session) -> None:
    times = {job.args["n"]: job.completed_at for job in tokyo.scalars(select(Job).where(Job.id % 300 == 0))}
    chosen = sorted(times)[:3]
    first, second, third = (times[number] for number in chosen)
    assert first is not None
    assert second is not None
    assert third is not None
    assert numbers(tokyo, Job.completed_at == first.astimezone(TOKYO)) == {chosen[0]}
    assert numbers(tokyo, Job.completed_at.in_([first.astimezone(FAR_WEST), second])) == set(chosen[:2])
    assert numbers(tokyo, Job.completed_at.in_({first, third})) == {chosen[0], chosen[2]}
    assert numbers(tokyo, Job.completed_at.in_([first, literal(second), func.now()])) == set(chosen[:2])
    plan = explain(tokyo, Job.completed_at.in_([first, second]))
    assert "oban_jobs_completed_at_index" in plan


def test_subqueries_give_the_right_rows(tokyo: Session) -> None:
    moment = tokyo.scalars(select(Job.completed_at).where(Job.args["n"].as_integer() == 7)).one()
    assert moment is not None
    abroad = select(literal(moment.isoformat()).cast(postgresql.TIMESTAMP(timezone=True)))
    assert numbers(tokyo, Job.completed_at.in_(abroad)) == {7}
    assert numbers(tokyo, Job.completed_at.in_(union_all(abroad, abroad))) == {7}
    assert numbers(tokyo, Job.completed_at == abroad.scalar_subquery()) == {7}
    own = aliased(Job)
    same = select(own.completed_at).where(own.args["n"].as_integer() == 7)
    assert numbers(tokyo, Job.completed_at.in_(same)) == {7}
    assert numbers(tokyo, Job.completed_at == same.scalar_subquery()) == {7}
    assert numbers(tokyo, Job.completed_at == select(func.max(own.completed_at)).scalar_subquery()) == {-100}


def test_subquery_may_refer_to_the_query_around_it(tokyo: Session) -> None:
    shifted = select(Job.completed_at.utc() + timedelta(0)).correlate(Job)
    assert len(numbers(tokyo, Job.completed_at.in_(shifted))) == 2_101


def test_columns_compare_with_each_other(tokyo: Session) -> None:
    assert len(numbers(tokyo, Job.completed_at > Job.attempted_at)) == 2_101
    assert numbers(tokyo, Job.completed_at > Job.attempted_at + timedelta(seconds=61)) == set()
    assert len(numbers(tokyo, Job.completed_at == Job.attempted_at + timedelta(seconds=60))) == 2_101
    assert len(numbers(tokyo, Job.completed_at - timedelta(seconds=60) == Job.attempted_at)) == 2_101
    assert len(numbers(tokyo, Job.completed_at - Job.attempted_at == timedelta(seconds=60))) == 2_101
    assert numbers(tokyo, Job.completed_at + func.make_interval(0, 0, 0, 0, 3) > func.now()) == set(range(-100, 3))
    assert numbers(tokyo, Job.completed_at + 3 * HOUR > func.now()) == set(range(-100, 3))


def test_null_is_null(tokyo: Session) -> None:
    assert len(numbers(tokyo, Job.cancelled_at.is_(None))) == 2_101
    assert numbers(tokyo, Job.cancelled_at.is_not(None)) == set()
    assert numbers(tokyo, Job.completed_at == None) == set()  # noqa: E711
    assert len(numbers(tokyo, Job.cancelled_at.is_distinct_from(func.now()))) == 2_101


def test_utc_is_for_every_other_expression(tokyo: Session) -> None:
    assert numbers(tokyo, func.now() - 2 * HOUR < Job.completed_at.utc()) == set(range(-100, 2))
    assert numbers(tokyo, func.greatest(Job.completed_at.utc(), func.now()) == func.now()) == set(range(2_001))
    [moment, stored] = tokyo.execute(
        select(Job.completed_at.utc(), Job.completed_at).where(Job.args["n"].as_integer() == 7)
    ).one()
    assert moment == stored
    day = func.date_trunc("day", Job.completed_at.utc(), "UTC")
    assert sum(count for _, count in tokyo.execute(select(day, func.count()).group_by(day))) == 2_101


def test_bound_parameter_is_an_aware_datetime(tokyo: Session) -> None:
    query = select(Job.args["n"].as_integer()).where(Job.completed_at > bindparam("since"))
    since = (datetime.now(UTC) - 2 * HOUR).astimezone(TOKYO)
    assert set(tokyo.scalars(query, {"since": since})) == set(range(-100, 2))


async def test_every_form_is_right_on_asyncpg(tokyo: Session, engine: AsyncEngine) -> None:
    now = datetime.now(UTC)
    async with AsyncSession(engine) as session:
        await session.execute(text("SET TIME ZONE 'Asia/Tokyo'"))
        for form, (condition, expected) in FORMS.items():
            found = await session.run_sync(numbers, condition(now))
            assert found == expected, form
        since: BindParameter[Any] = bindparam("since")
        query = select(Job.args["n"].as_integer()).where(Job.completed_at > since)
        found = set(await session.scalars(query, {"since": (now - 2 * HOUR).astimezone(TOKYO)}))
        assert found == set(range(-100, 2))


def test_times_are_aware_utc_in_python_whatever_zone_they_came_from(tokyo: Session) -> None:
    moment = datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=TOKYO)
    tokyo.add(spec := JobSpec("w", scheduled_at=moment))
    tokyo.flush()
    job = tokyo.get_one(Job, spec.id)
    assert job.scheduled_at == moment
    assert job.scheduled_at.tzinfo is UTC
    job.scheduled_at = moment + HOUR
    tokyo.flush()
    tokyo.expire(job)
    assert job.scheduled_at == moment + HOUR
    tokyo.execute(update(Job).where(Job.id == spec.id).values(scheduled_at=moment - HOUR))
    assert tokyo.scalars(select(Job.scheduled_at).where(Job.id == spec.id)).one() == moment - HOUR


@pytest.mark.parametrize("wrong", [datetime(2030, 1, 2), date(2030, 1, 2)])
def test_time_that_names_no_instant_is_refused(tokyo: Session, wrong: Any) -> None:
    message = r"naive datetime 2030-01-02T00:00:00: .*aware" if isinstance(wrong, datetime) else "expected an aware"
    for compare in (
        lambda: Job.completed_at > wrong,
        lambda: Job.completed_at.in_([wrong]),
        lambda: Job.completed_at.between(datetime.now(UTC), wrong),
    ):
        with pytest.raises((InvalidOption, StatementError), match=message):
            numbers(tokyo, compare())
    tokyo.rollback()
    job = tokyo.scalars(select(Job).limit(1)).one()
    job.scheduled_at = wrong
    with pytest.raises(StatementError, match=message):
        tokyo.flush()


def test_naive_datetime_is_refused_where_it_is_compared() -> None:
    with pytest.raises(InvalidOption, match="naive datetime"):
        _ = Job.completed_at > datetime(2030, 1, 2)
    with pytest.raises(InvalidOption, match="naive datetime"):
        _ = Producer.updated_at < datetime(2030, 1, 2)


def test_a_time_that_utc_has_no_year_for_is_refused() -> None:
    late = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=14)))
    with pytest.raises(InvalidOption, match="years 1 to 9999 of UTC"):
        _ = Job.completed_at > late
    with pytest.raises(InvalidOption, match="years 1 to 9999 of UTC"):
        JobSpec("app.w", scheduled_at=late)


def test_exists_and_labels_keep_working(tokyo: Session) -> None:
    other = aliased(Job)
    newer = exists().where(other.completed_at > Job.completed_at + HOUR * 2_099)
    assert numbers(tokyo, newer) == {2000}
    done: ColumnElement[Any] = column("done")
    row = tokyo.execute(select(Job.completed_at.label("done")).order_by(done.desc()).limit(1)).one()
    assert row.done.tzinfo is UTC
