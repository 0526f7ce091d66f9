"""Statements are compiled once for a process, whatever the number of nodes and engines."""

from __future__ import annotations

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban
from oban_sqla.statements.fetch import fetch
from oban_sqla.statements.statement import Statement
from tests.runtime.helpers import execute
from tests.statements.golden import statements


def dialect() -> Dialect:
    return asyncpg.dialect()  # type: ignore[no-untyped-call]


def test_two_engines_share_the_text_of_a_statement() -> None:
    first = fetch.compiled(dialect())
    assert fetch.compiled(dialect()) is first
    assert fetch.compiled(dialect(), {None: "elsewhere"}) is not first
    assert "elsewhere.oban_jobs" in fetch.compiled(dialect(), {None: "elsewhere"}).sql


async def test_a_dialect_that_has_met_its_server_emits_the_same_text(engine: AsyncEngine) -> None:
    await execute(engine, "SELECT 1")
    assert engine.dialect.server_version_info
    for name, value in statements().items():
        assert value._compile(engine.dialect, None) == value._compile(dialect(), None), name


async def test_a_second_node_compiles_nothing_anew(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Oban(engine, {"a": 1}, prune=None):
        pass
    compiled: list[str] = []
    make = Statement._compile

    def counting(self: Statement, *given: object) -> object:
        compiled.append(self.name)
        return make(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Statement, "_compile", counting)
    other = create_async_engine(engine.url)
    try:
        async with Oban(other, {"a": 1}, prune=None):
            pass
    finally:
        await other.dispose()
    assert compiled == []
