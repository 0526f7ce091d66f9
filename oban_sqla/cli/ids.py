"""The ids that commands take."""

from __future__ import annotations

from typing import Any

import click

from ..options.whole import whole_from
from .param_type import ParamType


class JobId(ParamType[int]):
    """The id of a job: a whole number from 1 to the largest bigint."""

    name = "ID"
    noun = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = whole_from(str(value), digits=19)
        if number is None or not 1 <= number < 2**63:
            self.fail(f"{value!r}: expected the id of a {self.noun}, such as 1234", param, ctx)
        return number


class FlowId(JobId):
    """The id of a workflow: a whole number from 1 to the largest bigint."""

    noun = "workflow"
