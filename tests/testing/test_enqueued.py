from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, delete, update
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, InvalidOption, Job, JobSpec
from oban_sqla.testing import all_enqueued, assert_enqueued, drain, refute_enqueued
from tests.testing import app
from tests.testing.any_session import AnySession


@contextmanager
def another_transaction(any_session: AnySession, spec: JobSpec) -> Generator[None]:
    """One that enqueues a job meanwhile."""
    engine = create_engine(any_session.url.set(drivername="postgresql+psycopg"))

    def commit() -> None:
        with Session(engine) as session, session.begin():
            session.add(spec)

    thread = threading.Timer(0.05, commit)
    thread.start()
    yield
    thread.join()
    with engine.begin() as connection:
        connection.execute(delete(Job))  # it is not the test's, to be rolled back with it
    engine.dispose()


class TestTimeout:
    def test_an_assertion_waits_for_the_commit_of_another_transaction(self, any_session: AnySession) -> None:
        with another_transaction(any_session, app.send.new("ann")):
            [found] = any_session(assert_enqueued, worker=app.send, timeout=timedelta(seconds=10))
            with pytest.raises(AssertionError, match="expected 2 jobs to be enqueued .* there is 1"):
                any_session(assert_enqueued, worker=app.send, count=2, timeout=0.03)
        assert found.args == {"to": "ann"}

    def test_a_refutation_fails_as_soon_as_another_transaction_commits_one(self, any_session: AnySession) -> None:
        with (
            another_transaction(any_session, app.send.new("ann")),
            pytest.raises(AssertionError, match="expected no job to be enqueued"),
        ):
            any_session(refute_enqueued, worker=app.send, timeout=30)
        any_session(refute_enqueued, worker=app.resize, timeout=0.03)

    @pytest.mark.parametrize("check", [assert_enqueued, refute_enqueued])
    def test_a_timeout_is_seconds(self, check: Any) -> None:
        with pytest.raises(InvalidOption, match="enqueued: timeout: expected seconds"):
            check(Session(), timeout="1")


class TestMatching:
    def test_a_job_is_found_by_worker_and_a_part_of_its_args(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann", greeting="Hi"), app.send.new("bob"))

        [found] = any_session(assert_enqueued, worker=app.send, args={"to": "ann"})
        assert isinstance(found, Job)
        assert found.args == {"to": "ann", "greeting": "Hi"}

    def test_jobs_that_were_only_added_count(self, any_session: AnySession) -> None:
        any_session.session.add(app.send.new("ann"))

        any_session(assert_enqueued, worker=app.send)

    @pytest.mark.parametrize(
        ("filters", "others"),
        [
            ({"worker": app.send}, {"worker": app.resize}),
            ({"worker": "tests.testing.app.send"}, {"worker": app.Report}),
            ({"queue": "mail"}, {"queue": "default"}),
            ({"args": {"greeting": "Hi"}}, {"args": {"greeting": "Hello"}}),
            ({"args": {}}, {"args": {"greeting": None}}),
            ({"meta": {"trace": {"id": 1}}}, {"meta": {"trace": {"id": 2}}}),
            ({"tags": ["b"]}, {"tags": ["b", "c"]}),
            ({"priority": 3}, {"priority": 0}),
            ({"state": "available"}, {"state": ["scheduled", "completed"]}),
        ],
    )
    def test_every_filter_narrows(
        self, any_session: AnySession, filters: dict[str, object], others: dict[str, object]
    ) -> None:
        options = app.send.options(priority=3, tags=["a", "b"], meta={"trace": {"id": 1, "at": "x"}})
        any_session.add(options.new("ann", greeting="Hi"))

        any_session(assert_enqueued, **filters)
        any_session(refute_enqueued, **others)
        with pytest.raises(AssertionError):
            any_session(assert_enqueued, **others)
        with pytest.raises(AssertionError):
            any_session(refute_enqueued, **filters)

    @pytest.mark.parametrize(
        ("filters", "said"),
        [
            (
                {"worker": "tests.testing.app.sned"},
                "no worker 'tests.testing.app.sned' .* mean 'tests.*send'",
            ),
            ({"queue": "mial"}, "there is no queue 'mial' in this process; did you mean 'mail'"),
            ({"worker": app.send, "args": {"too": "ann"}}, "has no parameter 'too'; did you mean 'to'"),
        ],
    )
    def test_a_refutation_that_proves_nothing_is_a_warning(
        self, plain_session: AnySession, filters: dict[str, object], said: str
    ) -> None:
        plain_session.add(app.send.new("ann"))

        with pytest.warns(UserWarning, match=said):
            plain_session(refute_enqueued, **filters)

    def test_a_refutation_proposes_no_worker_that_only_has_the_module_in_common(
        self, plain_session: AnySession, recwarn: pytest.WarningsRecorder
    ) -> None:
        plain_session(refute_enqueued, worker="tests.testing.app.zebra")
        assert [str(one.message) for one in recwarn] == []

    def test_values_are_compared_as_json_carries_them(self, any_session: AnySession) -> None:
        uuid = UUID(int=7)
        any_session.add(JobSpec("x", {"id": str(uuid), "day": "2024-02-29", "pair": [1, 2]}))

        any_session(assert_enqueued, args={"id": uuid, "day": date(2024, 2, 29), "pair": (1, 2)})

    def test_the_time_may_be_off_by_delta(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(schedule_in=3600).new("ann"))
        due = datetime.now(UTC) + timedelta(hours=1)

        any_session(assert_enqueued, scheduled_at=due)
        any_session(refute_enqueued, scheduled_at=due + timedelta(minutes=1))
        any_session(assert_enqueued, scheduled_at=due + timedelta(minutes=1), delta=90)
        any_session(assert_enqueued, scheduled_at=due + timedelta(minutes=1), delta=timedelta(minutes=2))

    def test_jobs_that_wait_for_others_count(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"))
        any_session.wait(any_session.session.execute(update(Job).values(state="suspended")))

        any_session(assert_enqueued, worker=app.send)

    def test_jobs_that_have_run_do_not_count_unless_their_state_is_asked_for(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"), app.breaks.new())
        any_session(drain)

        any_session(refute_enqueued)
        any_session(assert_enqueued, worker=app.breaks, state="retryable")
        any_session(assert_enqueued, state=["retryable", "completed"], count=2)

    def test_all_are_listed_with_the_newest_last(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"))
        any_session.add(app.send.new("bob"), app.resize.new(1))

        assert [found.args["to"] for found in any_session(all_enqueued, worker=app.send)] == ["ann", "bob"]
        assert len(any_session(all_enqueued)) == 3
        assert any_session(all_enqueued, queue="nowhere") == []

    def test_count_is_exact(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"), app.send.new("bob"))

        assert len(any_session(assert_enqueued, worker=app.send, count=2)) == 2
        with pytest.raises(AssertionError, match=r"expected 3 jobs to be enqueued with worker='.*send'; there is 2"):
            any_session(assert_enqueued, worker=app.send, count=3)
        with pytest.raises(AssertionError, match="expected 1 job to be enqueued; there is 2"):
            any_session(assert_enqueued, count=1)


class TestMessages:
    def said(self, any_session: AnySession, **filters: object) -> list[str]:
        with pytest.raises(AssertionError) as raised:
            any_session(assert_enqueued, **filters)
        return str(raised.value).splitlines()

    def test_an_empty_table_is_called_empty(self, any_session: AnySession) -> None:
        assert self.said(any_session, worker=app.send) == [
            "expected a job to be enqueued with worker='tests.testing.app.send'; there is none",
            "No job is in the table, as this session's transaction sees it.",
        ]

    def test_the_nearest_comes_first_with_what_differs(self, any_session: AnySession) -> None:
        any_session.add(app.resize.new(1))
        any_session.add(app.send.options(queue="slow").new("bob"))
        any_session.add(app.send.new("bob", greeting="Hi"))

        first, header, *others = self.said(any_session, worker=app.send, args={"to": "ann"}, queue="mail")
        assert first == (
            "expected a job to be enqueued with worker='tests.testing.app.send', args={'to': 'ann'}, queue='mail'; "
            "there is none"
        )
        assert header == "Other jobs, the nearest first:"
        assert [line.split(": ", 1)[1] for line in others] == [
            "args['to'] is 'bob', not 'ann'",
            "args['to'] is 'bob', not 'ann'; queue is 'slow'",
            "worker is 'tests.testing.app.resize'; args has no 'to' (there is 'width'); queue is 'default'",
        ]
        assert others[0].startswith("  job ")
        assert ", available, tests.testing.app.send in queue 'mail': " in others[0]

    def test_a_job_that_matches_but_has_run_is_named(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"))
        any_session(drain)

        *_, last = self.said(any_session, worker=app.send)
        assert last.endswith("completed, tests.testing.app.send in queue 'mail': it is completed")

    def test_nested_args_are_compared_down_to_the_value(self, any_session: AnySession) -> None:
        any_session.add(JobSpec("x", {"user": {"id": 7, "flags": [True], "name": "ann"}}))

        *_, last = self.said(any_session, args={"user": {"id": 8, "flags": [True], "age": 3}})
        assert last.endswith(
            ": args['user']['id'] is 7, not 8; args['user'] has no 'age' (there is 'id', 'name', 'flags')"
        )

    def test_true_is_not_one(self, any_session: AnySession) -> None:
        any_session.add(JobSpec("x", {"flag": 1}))

        assert self.said(any_session, args={"flag": True})[-1].endswith(": args['flag'] is 1, not True")

    def test_tags_priority_and_time_say_what_they_are(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(tags=["a"], schedule_in=60).new("ann"))

        *_, last = self.said(
            any_session, tags=["a", "b"], priority=2, scheduled_at=datetime.now(UTC) + timedelta(seconds=360)
        )
        assert "tags are ['a'], without ['b']; priority is 0; scheduled_at is 2" in last
        assert last.endswith("s earlier")

    def test_many_jobs_are_cut_short(self, any_session: AnySession) -> None:
        any_session.add(*(app.send.new("bob") for _ in range(15)))

        lines = self.said(any_session, args={"to": "ann"})
        assert len(lines) == 2 + 10 + 1
        assert lines[-1] == "  … and 5 more"

    def test_refute_lists_what_is_there(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"))

        with pytest.raises(AssertionError) as raised:
            any_session(refute_enqueued, worker=app.send)
        first, second = str(raised.value).splitlines()
        assert first == "expected no job to be enqueued with worker='tests.testing.app.send'; there is 1"
        assert second.endswith("in queue 'mail' matches: args {'to': 'ann'}")


class TestMistakes:
    @pytest.mark.parametrize(
        ("filters", "message"),
        [
            ({"wroker": app.send}, r"unknown option 'wroker' for assert_enqueued\(\): did you mean 'worker'\?"),
            ({"state": "availible"}, "unknown option 'availible' for assert_enqueued: state: did you mean 'available'"),
            ({"worker": 7}, "worker: expected a worker or its name, got 7"),
            ({"args": [1]}, r"args: expected a dict, got \[1\]"),
            ({"state": 5}, "state: expected a state or several, got 5"),
            ({"state": ["available", None]}, "state: expected a state or several, got "),
            ({"tags": "a"}, "tags: expected a sequence of strings, got 'a'"),
            ({"tags": [1]}, r"tags: expected a sequence of strings, got \[1\]"),
            ({"scheduled_at": datetime(2024, 1, 1)}, "scheduled_at: expected an aware datetime"),
            ({"delta": 3}, "delta needs scheduled_at"),
            ({"queue": 5}, "assert_enqueued: queue: expected a name, got 5"),
            ({"priority": "high"}, r"assert_enqueued: priority: expected 0 to 9 \(0 first\), got 'high'"),
            ({"count": 0}, "count must be 1 or more, got 0; use refute_enqueued for none"),
            ({"count": "1"}, "count must be 1 or more, got '1'"),
        ],
    )
    def test_a_filter_that_can_not_be_says_so(
        self, any_session: AnySession, filters: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InvalidOption, match=message):
            any_session(assert_enqueued, **filters)

    def test_args_that_json_can_not_carry_are_refused(self, any_session: AnySession) -> None:
        with pytest.raises(InvalidArgs, match="args: JSON can't carry it"):
            any_session(assert_enqueued, args={"x": object()})
        with pytest.raises(InvalidArgs, match=r"args\.x: .*nan"):
            any_session(assert_enqueued, args={"x": float("nan")})
