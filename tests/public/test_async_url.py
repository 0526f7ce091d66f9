"""A PostgreSQL URL in whichever spelling it comes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import InvalidOption, JobSpec, Oban, Workflow, async_url, enqueue
from oban_sqla.testing import assert_enqueued, drain
from oban_sqla.web import dashboard


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("postgres://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgres+pg8000://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres+psycopg_async://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql+psycopg2://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql+psycopg://h/d?ssl=require", "postgresql+psycopg://h/d?sslmode=require"),
        ("postgresql+psycopg://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
    ],
)
def test_every_spelling_gets_an_asynchronous_driver(given: str, made: str) -> None:
    assert async_url(given).render_as_string(hide_password=False) == made
    assert async_url(make_url(given)) == async_url(given)


@pytest.mark.parametrize(("driver", "join"), [("", list), ("+asyncpg", list), ("+psycopg", ",".join)])
@pytest.mark.parametrize("user", ["", "u@", "u:p%2Fp@"])
def test_several_hosts_are_named_as_for_libpq(driver: str, user: str, join: Any) -> None:
    url = async_url(f"postgresql{driver}://{user}one:6432,two/app?target_session_attrs=read-write")
    assert (url.database, url.username) == ("app", "u" if user else None)
    assert url.password == ("p/p" if ":" in user else None)
    _, options = create_async_engine(url).dialect.create_connect_args(url)
    ports = ["6432", "5432"] if driver == "+psycopg" else [6432, 5432]
    assert (options["host"], options["port"]) == (join(["one", "two"]), join(ports))
    assert options["target_session_attrs"] == "read-write"


@pytest.mark.parametrize("spelling", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
async def test_an_engine_on_it_reaches_the_database(database_url: str, spelling: str) -> None:
    given = make_url(database_url).set(drivername=spelling)
    engine = create_async_engine(async_url(given.render_as_string(hide_password=False)))
    try:
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nonsense", "can't be parsed; expected postgresql://user:password@host/name"),
        ("postgresql://u:secret@h:port/d", "can't be parsed"),
        ("mysql://u:secret@h/d", "jobs need PostgreSQL, but the database URL starts with 'mysql'"),
        ("postgresql+aiopg://u:secret@h/d", "unknown driver 'aiopg'"),
        ("postgres://u:secret@h/d?channel_binding=require", "asyncpg does not know channel_binding"),
    ],
)
def test_what_can_not_be_used_is_refused_without_its_password(given: str, said: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        async_url(given)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_variable_that_is_not_set_is_told_from_a_url_that_is_wrong() -> None:
    unset: Any = None
    with pytest.raises(InvalidOption, match=r"expected postgresql://.*, got NoneType; is the variable .* set\?"):
        async_url(unset)


def test_an_oban_on_a_url_names_what_makes_an_engine_of_it_and_not_the_password() -> None:
    given = "postgresql://u:secret@h/d"
    urls: list[Any] = [given, make_url(given)]
    for url in urls:
        with pytest.raises(InvalidOption, match=r"got a URL; make it with create_async_engine\(async_url") as refused:
            Oban(url)
        assert "secret" not in str(refused.value)


async def test_no_message_has_the_url_that_was_given_in_place_of_something_else() -> None:
    url: Any = "postgresql://u:secret@h/d"
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (dashboard, (url,)),
        (enqueue, (url, JobSpec("w"))),
        (Workflow("w").add, (url,)),
        (drain, (url,)),
        (assert_enqueued, (url,)),
    ]
    for call, given in calls:
        with pytest.raises(InvalidOption, match="got a URL") as refused:
            await call(*given)
        assert "secret" not in str(refused.value)
