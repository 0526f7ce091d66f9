"""Which key of an instance the job gets, and when there is none: one test for each state of an instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, JobSpec, Unique, enqueue, job, later
from tests.instances import models
from tests.instances.conftest import JOINED, Run, connection_of
from tests.instances.models import Country, Line, Order

Write = Callable[[Session, Any], Any]


def add(session: Session, spec: JobSpec) -> None:
    session.add(spec)
    session.flush()


BOTH = pytest.mark.parametrize("write", [add, enqueue])


def stored(session: Session) -> list[Any]:
    """The args of the jobs that the transaction has written."""
    return list(session.scalars(text("SELECT args FROM oban_jobs ORDER BY id")))


@BOTH
def test_a_new_instance_of_the_same_flush_gives_its_new_key(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        order = Order()
        session.add(order)
        write(session, models.send_invoice.new(order))
        assert stored(session) == [{"order": order.id}]

    run(scenario)


def test_an_instance_that_is_added_after_its_job_gives_its_key_too(run: Run) -> None:
    def scenario(session: Session) -> None:
        order = Order()
        session.add(models.send_invoice.new(order))
        session.add(order)
        session.flush()
        assert stored(session) == [{"order": order.id}]

    run(scenario)


def test_a_new_instance_with_a_composite_key_gives_a_list(run: Run) -> None:
    def scenario(session: Session) -> None:
        order = Order(lines=[Line(number=3)])
        session.add(order)
        session.add(models.take_line.new(order.lines[0]))
        session.flush()
        assert stored(session) == [{"line": [order.id, 3]}]

    run(scenario)


@BOTH
def test_a_natural_key_that_changes_in_the_flush_is_the_new_one(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        country = Country(code="fr")
        session.add(country)
        session.commit()
        spec = models.take_country.new(country)
        country.code = "FR"
        write(session, spec)
        assert stored(session) == [{"country": "FR"}]

    run(scenario)


@BOTH
def test_an_expired_instance_gives_its_key_without_a_query(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        order = Order(id=7)
        session.add(order)
        session.commit()
        session.connection().execute(text("DELETE FROM inst_orders"))  # a SELECT would now raise
        write(session, models.send_invoice.new(order))
        assert stored(session) == [{"order": 7}]

    run(scenario)


@BOTH
def test_a_detached_instance_gives_its_key(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        order = Order(id=7)
        session.add(order)
        session.commit()
        session.expunge(order)
        spec = models.send_invoice.new(order)
        assert spec.args == {"order": 7}
        write(session, spec)
        assert stored(session) == [{"order": 7}]

    run(scenario)


@BOTH
def test_an_instance_of_another_session_gives_its_key(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        with Session(connection_of(session), **JOINED) as other:
            order = Order(id=7)
            other.add(order)
            other.commit()
            write(session, models.send_invoice.new(order))
        assert stored(session) == [{"order": 7}]

    run(scenario)


@BOTH
def test_an_instance_whose_insert_was_rolled_back_is_refused(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        order = Order()
        session.add(order)
        session.flush()
        assert order.id is not None
        session.rollback()
        with pytest.raises(InvalidArgs, match="args.order: this Order has no row: .*rolled back"):
            write(session, models.send_invoice.new(order))

    run(scenario)


@BOTH
def test_an_instance_that_was_never_added_is_refused(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        with pytest.raises(InvalidArgs, match="add it to the session that writes the job"):
            write(session, models.send_invoice.new(Order(id=7)))

    run(scenario)


@BOTH
def test_an_instance_that_is_pending_in_another_session_is_refused(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        with Session(connection_of(session), **JOINED) as other:
            order = Order(id=7)
            other.add(order)
            with pytest.raises(InvalidArgs, match="added to no session or to another one"):
                write(session, models.send_invoice.new(order))

    run(scenario)


@BOTH
def test_an_instance_that_is_deleted_in_the_same_flush_is_refused(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        order = Order()
        session.add(order)
        session.commit()
        session.delete(order)
        with pytest.raises(InvalidArgs, match="this Order is deleted, .* pass what it needs of it"):
            write(session, models.send_invoice.new(order))

    run(scenario)


@BOTH
def test_an_instance_that_was_deleted_before_is_refused(run: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        order = Order()
        session.add(order)
        session.commit()
        session.delete(order)
        session.commit()
        with pytest.raises(InvalidArgs, match="this Order is deleted"):
            write(session, models.send_invoice.new(order))

    run(scenario)


@BOTH
def test_an_instance_of_a_shard_is_refused(run_once: Run, write: Write) -> None:
    def scenario(session: Session) -> None:
        session.add(Order(id=7))
        session.commit()
        order = session.get_one(Order, 7, identity_token="north")
        with pytest.raises(InvalidArgs, match="this Order is of a shard, 'north', which its key does not tell"):
            write(session, models.send_invoice.new(order))

    run_once(scenario)


def test_an_instance_of_a_savepoint_that_was_rolled_back_is_refused(run: Run) -> None:
    def scenario(session: Session) -> None:
        with session.begin_nested() as savepoint:
            order = Order()
            session.add(order)
            session.flush()
            savepoint.rollback()
        session.add(models.send_invoice.new(order))
        with pytest.raises(InvalidArgs, match="rolled back"):
            session.flush()

    run(scenario)


def test_instances_inside_of_containers_give_their_keys(run: Run) -> None:
    def scenario(session: Session) -> None:
        orders = [Order(), Order()]
        session.add_all(orders)
        session.add(models.take_many.new([*orders, orders[0]], by_name={"first": orders[0]}, last=orders[1]))
        session.flush()
        a, b = (order.id for order in orders)
        assert stored(session) == [{"orders": [a, b, a], "by_name": {"first": a}, "last": b}]

    run(scenario)


def test_later_may_give_an_instance(run: Run) -> None:
    def scenario(session: Session) -> None:
        order = Order()
        session.add(order)
        session.add(models.take_many.new([order], last=later(lambda: order)))
        session.flush()
        assert stored(session) == [{"orders": [order.id], "last": order.id}]

    run(scenario)


def test_none_and_keys_stand_beside_instances(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(models.take_many.new([], last=None))
        session.add(JobSpec(models.take_many, {"orders": [7], "last": 8}))
        session.flush()
        assert stored(session) == [{"orders": [], "last": None}, {"orders": [7], "last": 8}]

    run(scenario)


def test_the_same_instance_makes_a_duplicate_of_a_unique_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        order, other = Order(), Order()
        session.add_all([order, other])
        specs = [models.send_invoice.options(unique=Unique()).new(one) for one in (order, other, order)]
        session.add_all(specs)
        session.flush()
        assert [spec.conflict for spec in specs] == [False, False, True]
        assert len(stored(session)) == 2

    run(scenario)


def test_a_job_is_not_written_when_the_flush_of_its_instance_fails(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(Country(code="fr"))
        session.commit()
        twin = Country(code="fr")
        session.add(twin)
        session.add(models.take_country.new(twin))
        with pytest.raises(Exception, match="unique constraint"):
            session.flush()
        session.rollback()
        assert stored(session) == []

    run(scenario)


def test_a_spec_that_is_added_again_takes_the_key_again(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        country = Country(code="fr")
        session.add(country)
        spec = models.take_country.new(country)
        session.add(spec)
        session.flush()
        country.code = "FR"
        session.add(spec)
        session.flush()
        assert stored(session) == [{"country": "fr"}, {"country": "FR"}]

    run_once(scenario)


def test_what_is_shown_before_the_flush_is_the_key_as_far_as_it_is_known(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        new, old = Order(), Order(id=7)
        session.add(old)
        session.flush()
        assert models.send_invoice.new(old).args == {"order": 7}
        spec = models.send_invoice.new(new)
        assert repr(spec.args["order"]) == "<the key of Order, known at the flush>"
        session.add_all([new, spec])
        session.flush()
        assert spec.args == {"order": new.id}

    run_once(scenario)


def test_a_plain_job_waits_for_nothing() -> None:
    @job(name="tests.instances.flat")
    def flat(number: int, text: str) -> None: ...

    assert not flat.new(1, "a").waits
    assert not models.send_invoice.new(7).waits  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
