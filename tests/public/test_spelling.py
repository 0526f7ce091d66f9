"""An option of a class that is misspelt, missing or one too many: the error says what was meant."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

import oban_sqla
from oban_sqla import Cancel, InvalidOption, Partition, Queue, RateLimit, Snooze, Unique
from oban_sqla.errors import closest

RESULTS = {"Progress", "LogLine", "Health", "QueueInfo", "Reason", "Why", "Finding", "Result"}
OPTIONS = [
    thing
    for name in oban_sqla.__all__
    if dataclasses.is_dataclass(thing := getattr(oban_sqla, name)) and name not in RESULTS
]


@pytest.mark.parametrize("options", [*OPTIONS, oban_sqla.Encryption, Snooze, oban_sqla.Record])
def test_a_misspelt_option_of_a_class_is_named_with_the_one_that_was_meant(options: Any) -> None:
    name = next(iter(inspect.signature(options).parameters))
    with pytest.raises(InvalidOption, match=f"unknown option '{name}s' for {options.__name__}: did you mean '{name}'?"):
        options(**{f"{name}s": 1})


@pytest.mark.parametrize(
    ("options", "by_position", "by_name", "said"),
    [
        (Queue, (), {"rate": 5}, "unknown option 'rate' for Queue: did you mean 'rate_limit'?"),
        (Queue, (), {"local_limit": 5}, "unknown option 'local_limit' for Queue: did you mean 'limit'?"),
        (RateLimit, (), {"limit": 5, "per": 1}, "unknown option 'limit' for RateLimit: did you mean 'allowed'?"),
        (RateLimit, (5,), {"per": 1}, "unknown option 'per' for RateLimit: did you mean 'period'?"),
        (Partition, (), {"key": "args.id"}, "unknown option 'key' for Partition: did you mean 'by'?"),
        (Partition, (), {"args": "id"}, "unknown option 'args' for Partition: there are: burst, by, limit, rate_limit"),
        (RateLimit, (100,), {}, "RateLimit: period is missing; write RateLimit(period=…)"),
        (Queue, (5, 20), {}, "Queue: takes 1 by position (limit), got 2; give the others by name"),
        (RateLimit, (1,), {"allowed": 1, "period": 1}, "RateLimit: multiple values for argument 'allowed'"),
        (Cancel, (), {"why": "late"}, "unknown option 'why' for Cancel: there are: reason"),
        (Queue, (), {"paused": "no"}, "Queue: paused must be True or False, got 'no'"),
    ],
)
def test_a_call_that_does_not_fit_is_explained(options: Any, by_position: Any, by_name: Any, said: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        options(*by_position, **by_name)
    assert str(refused.value) == said


def test_a_name_without_its_module_is_known_again() -> None:
    assert closest("tick", ["app.jobs.tick", "app.jobs.report"]) == "app.jobs.tick"


def test_a_worker_is_not_taken_for_another_one_of_its_module() -> None:
    known = ["app.jobs.ledger", "app.jobs.send_receipt"]
    assert closest("app.jobs.old", known) is None
    assert closest("app.jobs.mail_receipt", known) == "app.jobs.send_receipt"
    assert closest("app.mail.send_receipt", known) == "app.jobs.send_receipt"


def test_an_error_of_a_value_stays_what_it_is() -> None:
    class Odd(list[str]):
        def __iter__(self) -> Any:
            raise TypeError("not today")

    with pytest.raises(TypeError, match="not today"):
        Unique(fields=Odd(["args"]))  # type: ignore[arg-type]


def test_a_list_that_changes_later_changes_no_option() -> None:
    by = ["args.tenant"]
    partition = Partition(by)
    by.append("worker")
    assert partition.fields == ("args.tenant",)
    assert hash(Queue(partition=partition))
