"""The numbers in the documentation are those of the code."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import pytest

from oban_sqla.runtime import announcer, control, loop, once_a_minute, reconciliation, verdict, waiter
from oban_sqla.runtime.config import Config
from oban_sqla.runtime.connections import CONNECTIONS
from oban_sqla.runtime.duties import scheduler
from oban_sqla.runtime.lanes import lane
from tests.processes import ROOT

CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
OPTIONS = re.findall(r"^\|[^|]+\| `([\w.]+)` \| ([\d.]+) s \|", CONFIGURATION, re.MULTILINE)
FIXED = dict(re.findall(r"^\| ([^|`]+) \| ([\d.]+) s \|$", CONFIGURATION, re.MULTILINE))

# What users read has the meaning of a time, and not where it is in the code.
MEANINGS = {
    "a statement of the runtime may take": lane.STATEMENT_TIMEOUT,
    "connecting may take": lane.CONNECT_TIMEOUT,
    "first wait after an error, doubled each time": loop.FIRST_RETRY,
    "longest wait after errors": loop.LONGEST_RETRY,
    "shortest time between two notifications to other nodes about new jobs": announcer.DEBOUNCE,
    "longest time between two reads of the crontab": scheduler.REREAD,
    "a tick may be late by": scheduler.LATE,
    "between two confirmations that the code has a cron entry": scheduler.CONFIRM_EVERY,
    "a cron entry that no node confirms is inactive after": scheduler.LIFETIME,
    "longest time between two reads of the settings of queues and of cancellations": control.LOOK_EVERY,
    "longest time between two polls for a result": waiter.LONGEST_WAIT,
    "between two searches for jobs whose fetch was interrupted": reconciliation.EVERY,
    "first wait for a node that knows the worker, doubled each time": verdict.FIRST_UNKNOWN_DELAY,
    "longest wait for a node that knows the worker": verdict.LONGEST_UNKNOWN_DELAY,
    "between two warnings about jobs that no node runs": once_a_minute.SECONDS,
}


@pytest.mark.parametrize(("name", "documented"), OPTIONS)
def test_a_documented_time_is_the_default(name: str, documented: str) -> None:
    default: Any = reduce(getattr, name.split("."), Config(node="me"))
    assert default == float(documented)


def test_every_time_that_can_be_chosen_is_documented() -> None:
    config = Config(node="me")
    times = {name for name in Config.__slots__ if isinstance(getattr(config, name), float)}
    times |= {f"heartbeat.{name}" for name in type(config.heartbeat).__slots__}
    assert times <= {name for name, _ in OPTIONS}


def test_every_documented_fixed_time_is_that_of_the_code() -> None:
    assert {meaning: float(seconds) for meaning, seconds in FIXED.items()} == MEANINGS


def test_the_number_of_connections_is_said_in_the_words_of_the_code() -> None:
    assert CONNECTIONS in " ".join(CONFIGURATION.split())
