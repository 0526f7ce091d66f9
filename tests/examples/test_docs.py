"""The numbers in the documentation are those of the code."""

from __future__ import annotations

import re
from functools import reduce
from importlib import import_module

import pytest

from oban_sqla.runtime.config import Config
from tests.processes import ROOT

CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
ROWS = re.findall(r"^\|[^|]+\| `([\w.]+)` \| ([\d.]+) s \|", CONFIGURATION, re.MULTILINE)


@pytest.mark.parametrize(("name", "documented"), ROWS)
def test_a_documented_time_is_the_default(name: str, documented: str) -> None:
    if name.startswith("oban_sqla."):
        module, _, constant = name.rpartition(".")
        value = getattr(import_module(module), constant)
    else:
        value = reduce(getattr, name.split("."), Config(node="me"))
    assert value == float(documented)


def test_every_time_that_can_be_chosen_is_documented() -> None:
    config = Config(node="me")
    times = {name for name in Config.__slots__ if isinstance(getattr(config, name), float)}
    times |= {f"heartbeat.{name}" for name in type(config.heartbeat).__slots__}
    assert times <= {name for name, _ in ROWS}
