"""What pyright knows of class workers. mypy does not follow what a class decorator returns (its issue 3135)."""
# mypy: ignore-errors
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from oban_sqla import Job, JobSpec, Unique, worker


@worker(queue="reports", unique=Unique(states="incomplete"))
class Report:
    def __init__(self) -> None:
        self.lines = 3

    async def process(self, job: Job) -> None: ...


assert_type(Report.new({"id": 1}, queue="x", schedule_in=60), JobSpec)
assert_type(Report.new(), JobSpec)
assert_type(Report().lines, int)
assert_type(Report.worker_name, str)
Report.new({"id": 1}, quue="x")  # pyright: ignore[reportCallIssue]
Report.new(id=1)  # pyright: ignore[reportCallIssue]
