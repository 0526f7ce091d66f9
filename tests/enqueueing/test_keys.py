"""The keys of unique jobs: SQL can compute them, and takes them in order."""

from __future__ import annotations

import random
import string
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session

from oban_sqla import JobSpec, Unique
from oban_sqla.enqueueing import keys
from oban_sqla.options.canonical import jsonb_text, read
from tests.enqueueing.conftest import Run

KEY = "substring(sha256(convert_to(CAST({} AS text), 'UTF8')), 1, 16)"
BY_FIELDS = KEY.format("jsonb_build_object('worker', worker, 'queue', queue, 'args', args)")
BY_KEYS = KEY.format("jsonb_build_object('args', jsonb_build_object('id', args->'id', 'née', args->'née'))")
BY_META = KEY.format("jsonb_build_object('meta', meta, 'worker', worker)")
BY_PERIOD = KEY.format(
    "jsonb_build_object('worker', worker, 'queue', queue, 'args', args, 'period', jsonb_build_array("
    "90000000, floor(extract(epoch FROM scheduled_at) * 1000000 / 90000000)))"
)
WAYS = {
    BY_FIELDS: Unique(),
    BY_KEYS: Unique(fields=["args"], keys=["id", "née"]),
    BY_META: Unique(fields=["worker", "meta"]),
    BY_PERIOD: Unique(period=90),
}


def anything(chance: random.Random, depth: int = 0) -> Any:
    letters = string.ascii_letters + '"\\/\n\t\b\f\r\x01\x1f\x7féß€😀\u2028'
    match chance.randrange(6 if depth > 2 else 8):
        case 0:
            return chance.choice([None, True, False])
        case 1:
            return chance.randrange(-(10**20), 10**20)
        case 2:
            return chance.choice([0.0, -0.0, 1.0, 1e22, 1.5e300, 5e-324, 0.1 + 0.2, chance.uniform(-9, 9)])
        case 3 | 4 | 5:
            return "".join(chance.choices(letters, k=chance.randrange(9)))
        case 6:
            return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
        case _:
            names = ["".join(chance.choices(letters, k=chance.randrange(6))) for _ in range(chance.randrange(5))]
            return {name: anything(chance, depth + 1) for name in names}


def documents(number: int) -> list[dict[str, Any]]:
    chance = random.Random(number)
    return [{"id": at, "née": anything(chance), "rest": anything(chance)} for at in range(number)]


@pytest.mark.parametrize("way", WAYS, ids=["fields", "keys", "meta", "period"])
def test_sql_computes_the_key_of_a_job_from_its_row(run_once: Run, way: str) -> None:
    later: list[dict[str, Any]] = [{}, {"schedule_in": 300.5}, {"scheduled_at": datetime(2100, 1, 1, 0, 0, 7, 1, UTC)}]

    def scenario(session: Session) -> None:
        specs = [
            JobSpec("café", args, queue='q"', meta={"m": args}, unique=WAYS[way], **later[at % 3])
            for at, args in enumerate(documents(300))
        ]
        session.add_all(specs)
        session.commit()
        assert not any(spec.conflict for spec in specs)
        [(different, all_of_them)] = session.execute(
            text(f"SELECT count(*) FILTER (WHERE uniq_key IS DISTINCT FROM {way}), count(*) FROM oban_jobs")
        )
        assert (different, all_of_them) == (0, 300)

    run_once(scenario)


def test_a_number_is_spelt_as_the_database_spells_it(run_once: Run) -> None:
    spellings = ["1.50", "1e5", "1E-7", "-0.0", "0e3", "12345678901234567890.10", "1.0E+2", "-1.5e-3"]

    def scenario(session: Session) -> None:
        for spelling in spellings:
            stored = session.scalar(text("SELECT CAST(CAST(:spelling AS jsonb) AS text)"), {"spelling": spelling})
            assert jsonb_text(read(spelling)) == stored

    run_once(scenario)


def test_a_clock_that_is_wrong_here_does_not_change_the_period(run_once: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2001, 1, 1, tzinfo=tz)

    def scenario(session: Session) -> None:
        first, again = (JobSpec("sync", unique=Unique(period=timedelta(days=3650))) for _ in range(2))
        session.add(first)
        session.commit()
        monkeypatch.setattr(keys, "datetime", Wrong)
        monkeypatch.setattr("time.time", lambda: 978_307_200.0)
        session.add(again)
        session.commit()
        assert again.conflict

    run_once(scenario)


# A transaction of another program, at a moment that the statement of the first chooses.


def at_the_lookup(engine: Engine, act: Callable[[], None]) -> None:
    """Call `act` once, before the first statement that looks for the jobs that others have inserted."""

    acts = [act]

    def watch(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "uniq_key = any" in statement and statement.lstrip().startswith("SELECT") and acts:
            acts.pop()()

    event.listen(engine, "before_cursor_execute", watch)


def test_two_flushes_of_the_same_unique_jobs_do_not_deadlock_while_an_older_one_completes(sync_engine: Engine) -> None:
    def specs() -> list[JobSpec]:
        return sorted((JobSpec("sync", {"id": at}, unique=Unique()) for at in range(2)), key=key_of)

    def key_of(spec: JobSpec) -> bytes:
        return Unique().key(spec.worker, spec.queue, spec.args_json, "{}", None)

    other = create_engine(sync_engine.url)
    raised: list[BaseException] = []
    mine, theirs = specs(), specs()

    def second() -> None:
        try:
            with Session(other) as session:
                session.add_all(theirs)
                session.commit()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=second)

    def older_completes_and_another_flushes() -> None:
        with other.begin() as connection:
            connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = :id"), {"id": older.id})
        thread.start()
        with other.connect() as connection:  # until it has the first key, and waits for the second
            waiting = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while thread.is_alive() and not connection.scalar(waiting):
                connection.rollback()

    try:
        with Session(sync_engine) as session:
            session.add(older := specs()[0])
            session.commit()
            at_the_lookup(sync_engine, older_completes_and_another_flushes)
            session.add_all(mine)
            session.commit()
        thread.join(30)
        assert raised == []
        assert sorted(spec.id or 0 for spec in mine) == sorted(spec.id or 0 for spec in theirs)
        assert older.id not in [spec.id for spec in mine]
    finally:
        other.dispose()


def test_unique_jobs_are_written_without_a_transaction(sync_engine: Engine) -> None:
    engine = create_engine(sync_engine.url, isolation_level="AUTOCOMMIT")
    try:
        with Session(engine) as session:
            first = [JobSpec("sync", {"id": at}, unique=Unique()) for at in range(3)]
            again = [JobSpec("sync", {"id": at}, unique=Unique()) for at in range(3)]
            session.add_all(first)
            session.commit()
            session.add_all(again)
            session.commit()
        assert [spec.id for spec in again] == [spec.id for spec in first]
    finally:
        engine.dispose()
