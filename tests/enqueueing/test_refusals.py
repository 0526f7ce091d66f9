"""Every value that a spec can't have is refused when the spec is made, by a message that says what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, InvalidOption, Job, JobSpec, ObanError, Unique, job, worker

NAIVE = datetime(2030, 1, 2, 3, 4)
AWARE = NAIVE.replace(tzinfo=UTC)


@job(name="tests.refusals.pay")
async def pay(order_id: int, amount: float = 1.0, *, note: str | None = None) -> None: ...


@job(name="tests.refusals.nudge")
async def nudge(order_id: int) -> None: ...


@job(name="tests.refusals.beat")
async def beat() -> None: ...


@worker(name="tests.refusals.Report")
class Report:
    async def process(self, job: Job) -> None: ...


class Person(BaseModel):
    name: str


@dataclass
class Place:
    name: str


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "blank worker": ({"worker": " "}, r"worker: expected a name, got ' '"),
    "number as worker": ({"worker": 7}, r"worker: expected a worker or its name, got 7"),
    "function as worker": ({"worker": nested}, r"worker: expected a worker or its name, got <function nested"),
    "long worker": ({"worker": "w" * 256}, r"worker: at most 255 characters, got 256"),
    "blank queue": ({"queue": "  "}, r"queue: expected a name, got '  '"),
    "empty queue": ({"queue": ""}, r"queue: expected a name, got ''"),
    "number as queue": ({"queue": 3}, r"queue: expected a name, got 3"),
    "NUL in queue": ({"queue": "a\x00"}, r"queue: a NUL or a lone surrogate.*'a\\x00'"),
    "priority below": ({"priority": -1}, r"priority: expected 0 to 9 \(0 runs first\), got -1"),
    "priority above": ({"priority": 10}, r"priority: expected 0 to 9 .*, got 10"),
    "priority as text": ({"priority": "1"}, r"priority: expected 0 to 9 .*, got '1'"),
    "priority as bool": ({"priority": True}, r"priority: expected 0 to 9 .*, got True"),
    "no attempts": ({"max_attempts": 0}, r"max_attempts: expected 1 to 32,767 .*, got 0"),
    "attempts above": ({"max_attempts": 40_000}, r"max_attempts: expected 1 to 32,767 .*, got 40000"),
    "one tag": ({"tags": "urgent"}, r"tags: expected a sequence of strings, got 'urgent'"),
    "number as tag": ({"tags": ["a", 1]}, r"one of tags: expected a name, got 1"),
    "naive time": ({"scheduled_at": NAIVE}, r"scheduled_at: 2030-01-02T03:04:00 has no time zone.*aware datetime"),
    "date": ({"scheduled_at": date(2030, 1, 2)}, r"scheduled_at: expected an aware datetime, got datetime\.date"),
    "both times": (
        {"scheduled_at": AWARE, "schedule_in": 5},
        r"both scheduled_at and schedule_in were given; choose one",
    ),
    "negative delay": ({"schedule_in": -1}, r"schedule_in: expected seconds \(0 or more\) or a timedelta, got -1"),
    "infinite delay": ({"schedule_in": math.inf}, r"schedule_in: expected seconds .*, got inf"),
    "text as delay": ({"schedule_in": "5m"}, r"schedule_in: expected seconds .*, got '5m'"),
    "dict as unique": ({"unique": {"period": 60}}, r"unique: expected Unique\(…\), got \{'period': 60\}"),
    "misspelt option": ({"prioriy": 1}, r"unknown option 'prioriy' for JobSpec: did you mean 'priority'\?"),
    "unknown option": (
        {"zzz": 1},
        r"unknown option 'zzz' for JobSpec: there are: deadline, max_attempts, meta, priority",
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option_is_refused(case: str) -> None:
    given, message = OPTIONS[case]
    given_or_default: dict[str, Any] = {"worker": "w", **given}
    with pytest.raises(InvalidOption, match=message) as refusal:
        JobSpec(**given_or_default)
    assert isinstance(refusal.value, ObanError)
    assert isinstance(refusal.value, ValueError)


ARGS: dict[str, tuple[Any, str]] = {
    "no dict": ([1], r"args: expected a dict with string keys, got list"),
    "empty list": ([], r"args: expected a dict with string keys, got list"),
    "text": ("x", r"args: expected a dict with string keys, got str \('x'\)"),
    "NaN": ({"rate": math.nan}, r"args\.rate: nan, for which JSON has no number"),
    "infinity inside": ({"a": [1, {"b": -math.inf}]}, r"args\.a\[1\]\.b: -inf, for which JSON has no number"),
    "NUL": ({"name": "a\x00b"}, r"args\.name: a NUL character, which PostgreSQL can't store"),
    "NUL inside": ({"a": {"b": ["\x00"]}}, r"args\.a\.b\[0\]: a NUL character"),
    "NUL in a key": ({"a\x00": 1}, r"args key 'a\\x00': a NUL character"),
    "lone surrogate": (
        {"name": "ab\ud800"},
        r"args\.name: a lone surrogate at position 2, which PostgreSQL can't store as text",
    ),
    "lone surrogate inside": ({"a": ["\udfff"]}, r"args\.a\[0\]: a lone surrogate"),
    "object": ({"user": object()}, r"args\.user: object, which JSON can't carry; pass what identifies it"),
    "object inside": ({"a": [{"when": AWARE}]}, r"args\.a\[0\]\.when: datetime, which JSON can't carry"),
    "decimal": ({"price": Decimal("1.5")}, r"args\.price: Decimal, which JSON can't carry; pass it as text: str"),
    "duration": ({"wait": timedelta(1)}, r"args\.wait: timedelta, which JSON can't carry; pass its seconds"),
    "model": (
        {"by": Person(name="ann")},
        r"args\.by: Person, which JSON can't carry; pass its model_dump\(mode='json'\)",
    ),
    "dataclass": (
        {"to": Place("Rome")},
        r"args\.to: Place, which JSON can't carry; pass dataclasses\.asdict\(…\) of it",
    ),
    "set": ({"ids": {1}}, r"args\.ids: set, which JSON can't carry; pass a list"),
    "key that is no text": ({"a": {1: 2}}, r"args\.a: the key 1 is int \(1\); keys of JSON objects are strings"),
    "too deep": ({"a": nested(300)}, r"args\.a.*: nested deeper than 200 levels"),
    "too large": ({"a": "x" * 1_048_576}, r"args: 1,048,584 bytes as JSON, at most 1,048,576 are allowed; store large"),
}


@pytest.mark.parametrize("case", ARGS)
def test_args_that_json_cannot_carry_are_refused_with_their_path(case: str) -> None:
    given, message = ARGS[case]
    with pytest.raises(InvalidArgs, match=message) as refusal:
        JobSpec("w", given)
    assert isinstance(refusal.value, ObanError)
    assert isinstance(refusal.value, ValueError)


def test_meta_is_checked_like_args() -> None:
    with pytest.raises(InvalidArgs, match=r"meta\.a\[0\]: nan, for which JSON has no number"):
        JobSpec("w", meta={"a": [math.nan]})
    with pytest.raises(InvalidArgs, match=r"meta: expected a dict with string keys, got list"):
        JobSpec("w", meta=[1])  # type: ignore[arg-type]


def test_limit_of_the_args_counts_bytes_and_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    JobSpec("w", {"a": "x" * (1_048_576 - 8)})
    with pytest.raises(InvalidArgs, match=r"1,048,577 bytes"):
        JobSpec("w", {"a": "x" * (1_048_576 - 9) + "é"})
    monkeypatch.setattr(JobSpec, "max_args_bytes", 10)
    with pytest.raises(InvalidArgs, match=r"args: 11 bytes as JSON, at most 10 are allowed"):
        JobSpec("w", {"a": "xxx"})


def test_what_json_can_carry_is_taken_as_it_is() -> None:
    args = {"text": "\\u0000 é 😀", "float": 1e300, "int": 2**80, "null": None, "nested": [{"a": [True]}], "": 1}
    assert JobSpec("w", args).args == args


# Their types say what is wrong, too.
untyped: Any = pay
untyped_nudge: Any = nudge
untyped_beat: Any = beat
Untyped: Any = Report

CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "missing": (lambda: untyped.new(), r"pay: the argument 'order_id' is missing"),
    "unknown": (lambda: untyped.new(1, ammount=2), r"pay: there is no parameter 'ammount'"),
    "wrong type": (lambda: untyped.new("one"), r"pay: order_id: .*integer.* \(got str\)"),
    "too many": (lambda: untyped.new(1, 2.0, "x"), r"pay: takes 2 arguments \(order_id, amount\), got 3"),
    "one too many": (lambda: untyped_nudge.new(1, 2), r"nudge: takes 1 argument \(order_id\), got 2"),
    "none taken": (lambda: untyped_beat.new(1), r"beat: takes no arguments, got 1"),
    "twice": (lambda: untyped.new(1, order_id=2), r"pay: 'order_id' is given twice"),
    "NaN": (lambda: pay.new(1, math.nan), r"args\.amount: nan"),
    "NUL": (lambda: pay.new(1, note="\x00"), r"args\.note: a NUL"),
    "by name and spec": (lambda: JobSpec(pay, {"order": 1}), r"'order_id' is missing; there is no parameter 'order'"),
    "with options": (lambda: untyped.options(queue="slow").new(), r"pay: the argument 'order_id' is missing"),
    "no dict": (lambda: Untyped.new(7), r"args: expected a dict with string keys, got int \(7\)"),
}


@pytest.mark.parametrize("case", CALLS)
def test_args_that_do_not_fit_the_worker_are_refused(case: str) -> None:
    call, message = CALLS[case]
    with pytest.raises(InvalidArgs, match=message):
        call()


def test_values_of_args_are_kept_out_of_messages() -> None:
    with pytest.raises(InvalidArgs) as refusal:
        pay.new("secret")  # type: ignore[arg-type]
    assert "secret" not in str(refusal.value)


NEW: dict[str, tuple[Callable[[], Any], str]] = {
    "misspelt option": (
        lambda: Untyped.new({}, quue="x"),
        r"'quue' for tests\.refusals\.Report\.new\(\): did you mean 'queue'",
    ),
    "bad option": (lambda: Untyped.new({}, priority=11), r"priority: expected 0 to 9 .*, got 11"),
    "two dicts": (lambda: Untyped.new({}, {}), r"Report\.new\(\): expected one dict of args, then options by name"),
    "misspelt in options": (
        lambda: untyped.options(quue="x"),
        r"'quue' for tests\.refusals\.pay\.options\(\): did you mean",
    ),
    "bad value in options": (lambda: pay.options(queue=" "), r"queue: expected a name, got ' '"),
}


@pytest.mark.parametrize("case", NEW)
def test_options_of_a_worker_are_checked_where_they_are_given(case: str) -> None:
    call, message = NEW[case]
    with pytest.raises(InvalidOption, match=message):
        call()


UNIQUE: dict[str, tuple[dict[str, Any], str]] = {
    "no period": ({"period": 0}, r"Unique\(period\): expected more than 0 seconds, or None for no end, got 0"),
    "negative period": ({"period": timedelta(seconds=-1)}, r"Unique\(period\): expected seconds .*, got -1"),
    "text as period": ({"period": "1h"}, r"Unique\(period\): expected seconds .*, got '1h'"),
    "unknown field": (
        {"fields": ["arg"]},
        r"Unique\(fields\): expected some of worker, queue, args, meta, got \['arg'\]",
    ),
    "one field": ({"fields": "args"}, r"Unique\(fields\): expected some of .*, got 'args'"),
    "no field": ({"fields": []}, r"Unique\(fields\): expected some of .*, got \[\]"),
    "None as fields": ({"fields": None}, r"Unique\(fields\): expected some of .*, got None"),
    "one key": ({"keys": "id"}, r"Unique\(keys\): expected a sequence of names, got 'id'"),
    "number as key": ({"keys": [1]}, r"Unique\(keys\): expected a sequence of names, got \[1\]"),
    "keys of nothing": (
        {"keys": ["id"], "fields": ["worker"]},
        r"Unique\(keys\): keys choose from args or meta, but neither is among the fields \['worker'\]",
    ),
    "unknown group": ({"states": "alive"}, r"Unique\(states\): expected one of all, incomplete.*, got 'alive'"),
    "unknown state": (
        {"states": ["available", "done"]},
        r"Unique\(states\): expected some of .*, got \['available', 'done'\]",
    ),
    "no state": ({"states": []}, r"Unique\(states\): a new job is available, .*, got \[\]"),
    "never unique": ({"states": ["executing"]}, r"Unique\(states\): .* it would never be unique, got \['executing'\]"),
}


async def remind(order_id: int) -> None: ...
async def count(**numbers: int) -> None: ...


def test_a_key_of_unique_jobs_that_no_parameter_has_is_refused() -> None:
    typo, none = Unique(keys=["ordr_id"]), Unique(keys=["zzz"])
    with pytest.raises(InvalidOption, match=r"Unique\(keys\): .* no parameter 'ordr_id'; did you mean 'order_id'\?"):
        job(name="tests.refusals.typo", unique=typo)(remind)
    with pytest.raises(InvalidOption, match=r"no parameter 'zzz'; it has order_id, amount, note"):
        pay.options(unique=none)
    with pytest.raises(InvalidOption, match=r"no parameter 'zzz'; it has none"):
        beat.options(unique=none)


def test_a_key_that_no_parameter_has_is_refused_wherever_the_job_is_made(sync_engine: Engine) -> None:
    typo = Unique(keys=["ordr_id"])
    known = job(name="tests.refusals.known")(remind)
    with pytest.raises(InvalidOption, match="did you mean 'order_id'"):
        JobSpec(known, {"order_id": 1}, unique=typo)
    with Session(sync_engine) as session:
        session.add(JobSpec("tests.refusals.elsewhere", {"order_id": 1}, unique=typo))  # its args are not known here
        session.flush()
        session.add(JobSpec("tests.refusals.known", {"order_id": 1}, unique=typo))
        with pytest.raises(InvalidOption, match="did you mean 'order_id'"):
            session.flush()


def test_keys_of_meta_and_of_open_args_are_not_parameters() -> None:
    pay.options(unique=Unique(fields=["worker", "meta"], keys=["tenant"]))
    job(name="tests.refusals.open", unique=Unique(keys=["anything"]))(count)
    Untyped.new({}, unique=Unique(keys=["anything"]))


@pytest.mark.parametrize("case", UNIQUE)
def test_option_of_unique_is_refused(case: str) -> None:
    given, message = UNIQUE[case]
    with pytest.raises(InvalidOption, match=message):
        Unique(**given)
