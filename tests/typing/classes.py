"""What type checkers know of class workers. Read by pyright, and by mypy with the plugin ``oban_sqla.mypy``."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from oban_sqla import Job, JobSpec, Unique, worker


@worker(queue="reports", unique=Unique(states="incomplete"))
class Report:
    def __init__(self) -> None:
        self.lines = 3

    async def process(self, job: Job) -> None: ...


@worker
class Plain:
    def process(self, job: Job) -> int:
        return job.attempt


assert_type(Report.new({"id": 1}, queue="x", schedule_in=60), JobSpec)
assert_type(Report.new(), JobSpec)
assert_type(Plain.new({"id": 1}), JobSpec)
assert_type(Report().lines, int)
assert_type(Report.worker_name, str)
JobSpec(Plain, {"id": 1}, priority=1)
Report.new({"id": 1}, quue="x")  # type: ignore[call-arg]
Report.new({"id": 1}, queue=1)  # type: ignore[arg-type]
Report.new(id=1)  # type: ignore[call-arg]
