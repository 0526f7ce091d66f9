"""Two workers of one place: factories, lambdas, and modules that are loaded again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from oban_sqla import Job, WorkerConflict, job, worker
from oban_sqla.workers.registry import workers


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def made_by_factory(table: str) -> Any:
    @job
    def sync(row: int) -> str:
        return f"{table}{row}"

    return sync


def test_second_function_of_a_factory_is_refused() -> None:
    users = made_by_factory("users")
    with pytest.raises(WorkerConflict, match=r"two workers named '.*made_by_factory\.sync': .*several functions"):
        made_by_factory("orders")
    assert workers[users.worker_name].target(1) == "users1"


def test_second_function_of_a_factory_that_names_both_alike_is_refused() -> None:
    def make(table: str) -> Any:
        @job(name="tests.factories.sync")
        def sync(row: int) -> str:
            return f"{table}{row}"

        return sync

    users = make("users")
    with pytest.raises(WorkerConflict, match=r"two workers named 'tests\.factories\.sync': .*another name="):
        make("orders")
    assert workers[users.worker_name].target(1) == "users1"


def test_factory_that_makes_the_same_again_is_not_refused() -> None:
    first, again = made_by_factory("users"), made_by_factory("users")
    assert workers[first.worker_name] is again.worker


def test_function_that_is_gone_has_left_its_name() -> None:
    made_by_factory("users")
    assert made_by_factory("orders")(1) == "orders1"


def test_second_function_of_a_factory_with_other_defaults_is_refused() -> None:
    def make(table: str) -> Any:
        @job
        def sync(row: int, into: str = table) -> None: ...

        return sync

    kept = make("users")
    with pytest.raises(WorkerConflict):
        make("orders")
    assert kept.worker_name


def test_second_lambda_is_refused() -> None:
    first: Any = job(lambda user_id: 1)
    with pytest.raises(WorkerConflict, match="lambdas"):
        job(lambda user_id: 2)
    assert first(7) == 1


def test_second_class_of_a_factory_is_refused() -> None:
    def make(table: str) -> Any:
        @worker
        class Report:
            def process(self, job: Job) -> str:
                return table

        return Report

    kept = make("users")
    with pytest.raises(WorkerConflict, match=r"two workers named '.*make\.Report'"):
        make("orders")
    assert kept.worker_name


RELOADED = """
import importlib, pathlib, sys
sys.path.insert(0, ".")
import tasks
held = tasks.held
for change in ("", "x = 1  # another line" + chr(10)):
    source = pathlib.Path("tasks.py").read_text()
    pathlib.Path("tasks.py").write_text(change + source)
    importlib.invalidate_caches()
    importlib.reload(tasks)
print(tasks.send.worker_name, tasks.users(1), tasks.nothing(1))
"""
TASKS = """
from oban_sqla import job

def make(table):
    @job
    def sync(row):
        return f"{table}{row}"
    return sync

@job
def send(user_id: int) -> None: ...

users = make("users")
nothing = job(lambda row: row)
held = [send, users, nothing]
"""


def test_reload_of_a_module_conflicts_with_nothing(tmp_path: Any) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    ran = subprocess.run(
        [sys.executable, "-B", "-c", RELOADED], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.strip() == "tasks.send users1 1", ran.stderr
