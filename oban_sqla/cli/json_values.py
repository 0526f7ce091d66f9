"""The options and arguments of commands that are JSON."""

from __future__ import annotations

import json
from typing import Any

import click

from .param_type import ParamType


class Json(ParamType[Any]):
    """Any JSON value."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f'expected JSON, such as \'{{"by": "ann"}}\', "yes" in quotes, or 7; got {value!r} ({error})')


class Args(ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            parsed: Any = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            self.fail(f"{value!r} is not valid JSON: {error}", param, ctx)
        if not isinstance(parsed, dict):
            self.fail(f"expected a JSON object such as '{{\"days\": 7}}', got {value}", param, ctx)
        return parsed  # pyright: ignore[reportUnknownVariableType]
