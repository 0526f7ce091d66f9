"""Errors and outcomes that travel: other processes, task groups of other libraries and test runners pickle them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import (
    Cancel,
    Discard,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    JobSpec,
    Oban,
    ObanError,
    Record,
    Snooze,
    errors,
    later,
)
from oban_sqla.executors.errand import ChildError

PLAIN = [
    error("what was given")
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, ObanError) and "__init__" not in vars(error)
    if error is not JobDiscarded
]
ALL: list[Exception] = [
    *PLAIN,
    JobFailed("it failed", 7, "ValueError: x"),
    JobDiscarded("it failed for good", 7, "ValueError: x"),
    JobCancelled("it was cancelled", 7),
    ChildError("ValueError", "x", "a trace"),
    Snooze(5, suspend="queue"),
    Cancel("enough"),
    Discard(ValueError("never")),
    Record({"a": 1}),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_can_be_pickled_and_copied(error: Exception) -> None:
    error.add_note("seen in a test")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert (str(again), vars(again), again.args) == (str(error), vars(error), error.args)


URL = "postgresql+asyncpg://u:sec/ret@h/d"


@pytest.mark.parametrize(
    "made_with", [{"queues": URL}, {"sessionmaker": URL}, {"name": [URL]}, {"queues": {"a": URL}}, {"hooks": [URL]}]
)
def test_an_error_shows_no_password_of_a_url_in_a_wrong_place(made_with: dict[str, object]) -> None:
    options: Any = made_with
    with pytest.raises(ObanError) as refused:
        Oban(create_async_engine(URL.replace("sec/ret", "secret")), **options)
    assert "postgresql+asyncpg://u:***@h/d" in str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


def test_a_spec_that_waits_for_its_flush_says_why_it_can_not_be_pickled() -> None:
    with pytest.raises(TypeError, match="can't be pickled before the flush, which fills in some of its args"):
        pickle.dumps(JobSpec("tests.waits", {"id": later(lambda: 1)}))
