"""Which URLs are taken, and what is said about the others."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from oban_sqla.cli import main
from oban_sqla.cli.database import ENVIRONMENT, engine_for

URL = "postgresql://u:secret@127.0.0.1:1/d"


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u:p@h/d", "asyncpg"),
        ("postgres://u:p@h/d", "asyncpg"),
        ("postgresql+asyncpg://u:p@h/d", "asyncpg"),
        ("postgresql+psycopg://u:p@h/d", "psycopg"),
        ("postgresql+psycopg_async://u:p@h/d", "psycopg"),
        ("postgresql+psycopg2://u:p@h/d", "asyncpg"),
        ("postgres+pg8000://u:p@h/d", "asyncpg"),
    ],
)
def test_a_url_gets_an_asynchronous_driver(given: str, driver: str) -> None:
    engine = engine_for(given)
    assert engine.dialect.driver.removesuffix("_async") == driver
    assert (engine.url.username, engine.url.password, engine.url.host, engine.url.database) == ("u", "p", "h", "d")


def test_libpq_s_sslmode_is_given_to_asyncpg_under_its_own_name() -> None:
    assert dict(engine_for("postgres://h/d?sslmode=require").url.query) == {"ssl": "require"}
    assert dict(engine_for("postgresql+psycopg://h/d?sslmode=require").url.query) == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "no database given; use --database-url, or set OBAN_DATABASE_URL or DATABASE_URL"),
        ("", "no database"),
        ("nonsense", "can't be parsed; expected postgresql://"),
        ("postgresql://h:port/d", "can't be parsed"),
        ("mysql://h/d", "jobs need PostgreSQL, but the database URL starts with 'mysql'"),
        ("sqlite+aiosqlite:///x", "jobs need PostgreSQL"),
        ("postgresql+aiopg://h/d", "names the unknown driver 'aiopg'; write postgresql:// for asyncpg"),
        ("postgresql://h/d?channel_binding=require", "asyncpg does not know channel_binding"),
    ],
)
def test_a_url_that_can_t_be_used_is_refused_by_name(given: str | None, said: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        engine_for(given)
    assert said in refused.value.message


def test_a_driver_that_is_not_installed_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(click.UsageError, match=r"not installed \(psycopg\): pip install 'oban-sqla\[psycopg\]', or"):
        engine_for("postgresql+psycopg://u:secret@h/d")


def test_a_password_is_never_shown() -> None:
    with pytest.raises(click.UsageError) as refused:
        engine_for("postgresql://u:secret@h:port/d")
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    "command",
    [
        ["migrate", URL],
        ["start", URL],
        ["start", "--health", URL, "json"],
        ["--config", URL, "start"],
        ["jobs", "show", URL],
        ["queues", "pause", URL, "--database-url", URL],
        [URL],
    ],
)
def test_a_url_in_a_wrong_place_is_told_without_its_password(command: list[str]) -> None:
    result = CliRunner().invoke(main, command)
    assert result.exit_code != 0
    assert "secret" not in result.output


def test_oban_s_own_variable_comes_before_the_application_s() -> None:
    assert ENVIRONMENT == ("OBAN_DATABASE_URL", "DATABASE_URL")
    environment = {"OBAN_DATABASE_URL": "mysql://ours/d", "DATABASE_URL": "oracle://theirs/d"}
    assert "'mysql'" in CliRunner().invoke(main, ["migrate"], env=environment).output


@pytest.mark.parametrize("command", [["migrate"], ["start", "json"]])
def test_without_a_database_it_is_a_usage_error(command: list[str]) -> None:
    result = CliRunner().invoke(main, command, env=dict.fromkeys(ENVIRONMENT))
    assert result.exit_code == 2
    assert "no database" in result.output
