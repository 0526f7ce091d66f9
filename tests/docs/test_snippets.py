"""The Python of the guides runs as it stands there, page by page, in the order of the page."""

from __future__ import annotations

import ast
import inspect
import logging
import re
import sys
from collections.abc import AsyncGenerator, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock, create_autospec

import httpx
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import DateTime, ForeignKey, create_engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import oban_sqla
from oban_sqla import Backoff, Job, JobSpec, Oban, Queue, RateLimit, enqueue, injected, job, later
from oban_sqla.testing import drain
from oban_sqla.workers.registry import workers
from tests.docs.pages import DOCS, PAGES
from tests.processes import ROOT, finished
from tests.support import eventually


class Base(DeclarativeBase): ...


class User(Base):
    __tablename__ = "docs_users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


class Account(Base):
    __tablename__ = "docs_accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Payment(Base):
    __tablename__ = "docs_payments"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    amount: Mapped[int]


class FakeScope:
    """What the page uses of a scope of Sentry."""

    fingerprint: list[str]

    def __init__(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def fork(self) -> FakeScope:
        return FakeScope(dict(self.tags))

    def clear_breadcrumbs(self) -> None: ...

    def set_tag(self, name: str, value: str) -> None:
        self.tags[name] = value


@job(name="docs.send_receipt")
async def send_receipt(account_id: int) -> None: ...


def blocks(page: str) -> list[CodeType]:
    """The blocks of Python in a page, compiled with `await` at their top level."""
    text = (DOCS / page).read_text()
    found = re.findall(r"^( *)```python\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    codes = [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]
    return [compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) for code in codes]


async def run(page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a page, one after the other, with these names."""
    for block in blocks(page):
        result = eval(block, names)
        if inspect.isawaitable(result):
            await result
    return names


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The names of a module, in which a page defines workers and models; removed afterwards."""
    made = ModuleType(f"docs_{request.node.name}")
    sys.modules[made.__name__] = made
    before = set(workers)
    yield vars(made)
    workers.remove(set(workers) - before)
    del sys.modules[made.__name__]


@pytest.fixture
async def tables(engine: AsyncEngine) -> AsyncGenerator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


async def test_enqueueing(engine: AsyncEngine, tables: None, module: dict[str, Any]) -> None:
    make_session = async_sessionmaker(engine, expire_on_commit=False)
    async with Oban(engine) as oban, make_session() as session:
        module |= {
            "Session": make_session, "session": session, "oban": oban, "User": User, "job": job, "later": later,
            "enqueue": enqueue, "JobSpec": JobSpec,
        }  # fmt: skip
        await run("enqueueing.md", module)
        found = list(await session.scalars(select(Job).order_by(Job.id)))
        assert [job.args["user_id"] for job in found] == [1, 1, 2, 3, 4, 7]
        assert found[-1].worker == "app.mail.send_welcome"


async def test_the_sql_of_enqueueing_writes_a_job_and_wakes_a_queue(engine: AsyncEngine) -> None:
    insert, notify = re.findall(r"```sql\n(.*?)```", (DOCS / "enqueueing.md").read_text(), re.DOTALL)
    ran: list[int] = []

    @job(name="app.mail.send_welcome", queue="mail")
    async def welcome(user_id: int) -> None:
        ran.append(user_id)

    try:
        async with Oban(engine, queues={"mail": 1}, poll_interval=60):
            async with engine.begin() as connection:
                await connection.exec_driver_sql(insert)
                await connection.exec_driver_sql(notify)
            await eventually(lambda: ran)
    finally:
        workers.remove(["app.mail.send_welcome"])
    assert ran == [7]


async def test_exactly_once(engine: AsyncEngine, tables: None, module: dict[str, Any]) -> None:
    charged: list[str] = []

    class Cards:
        async def charge(self, order_id: int, amount: int, idempotency_key: str) -> None:
            charged.append(idempotency_key)

    module |= {
        "job": job, "injected": injected, "AsyncSession": AsyncSession, "Account": Account, "Payment": Payment,
        "send_receipt": send_receipt, "current_job": oban_sqla.current_job, "cards": Cards(),
    }  # fmt: skip
    await run("exactly-once.md", module)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(account := Account(balance=100))
        await session.flush()
        paid, charge = module["pay_out"].new(account.id, 30), module["charge"].new(order_id=1, amount=30)
        session.add_all([paid, charge])
        assert await drain(session) == {"completed": 3}
        await session.refresh(account)
        assert account.balance == 70
    assert charged == [f"job-{charge.id}"]


async def test_fastapi(engine: AsyncEngine, tmp_path: Path, empty_database: str) -> None:
    application, use = re.findall(r"```python\n(.*?)```", (DOCS / "fastapi.md").read_text(), re.DOTALL)
    script = """
import asyncio
from httpx import ASGITransport, AsyncClient
from oban_sqla import migrations

async def main():
    await migrations.migrate(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with lifespan(app), AsyncClient(transport=ASGITransport(app), base_url="http://test") as web:
        print((await web.post("/users", params={"email": "ada@example.org"})).json())
        await oban.result(1)
        print((await web.get("/jobs/1")).json())
        print((await web.get("/health/")).status_code)

asyncio.run(main())
"""
    (tmp_path / "app.py").write_text(application)
    (tmp_path / "run.py").write_text("from app import *\n" + use + script)
    done = finished(["run.py"], tmp_path, {"DATABASE_URL": empty_database})
    assert (done.stdout.splitlines(), done.stderr) == (["{'id': 1}", "completed", "200"], "")


async def test_flask(tmp_path: Path, empty_database: str) -> None:
    shop, cancel = re.findall(r"^ *```python\n(.*?)^ *```", (DOCS / "flask-and-sync.md").read_text(), re.DOTALL | re.M)
    script = """
from oban_sqla import Job
from sqlalchemy import select

Base.metadata.create_all(engine)
with app.test_client() as web:
    print(web.post("/orders", data={"item": "book"}).get_json())
    print(web.post("/orders", data={"item": "pen"}).get_json())
print(cancel_from_flask(2))
with make_session() as session:
    print([str(job.state) for job in session.scalars(select(Job).order_by(Job.id))])
    print(dict(drain(session)), session.get_one(Order, 1).shipped)
engine.dispose()
"""
    (tmp_path / "shop.py").write_text(shop)
    code = "\n".join(line.removeprefix("  ") for line in cancel.splitlines())
    (tmp_path / "run.py").write_text("from shop import *\nfrom oban_sqla.testing import drain\n" + code + script)
    url = {"DATABASE_URL": empty_database.replace("+asyncpg", "+psycopg")}
    made = finished(["-m", "oban_sqla", "migrate"], tmp_path, url)
    assert made.returncode == 0, made.stderr
    done = finished(["run.py"], tmp_path, url)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "{'id': 1}", "{'id': 2}", "1", "['available', 'cancelled']", "{'completed': 1} True",
    ]  # fmt: skip


async def test_sqlmodel(engine: AsyncEngine, module: dict[str, Any]) -> None:
    module |= {"engine": engine}
    await run("sqlmodel.md", module)
    models = module["SQLModel"].metadata
    async with engine.begin() as connection:
        await connection.run_sync(models.create_all)
    try:
        async with module["AsyncSession"](engine) as session:
            await module["recruit"](session, "Rusty")
            [recruited] = (await session.exec(select(Job.id))).all()
        async with module["oban"] as oban:
            await oban.result(recruited[0])
        async with module["AsyncSession"](engine) as session:
            assert (await session.get_one(module["Hero"], 1)).trained
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(models.drop_all)


async def test_the_start_page(engine: AsyncEngine, tables: None, module: dict[str, Any]) -> None:
    mails: list[str] = []

    async def mail(email: str, _text: str) -> None:
        mails.append(email)

    module |= {
        "job": job, "injected": injected, "AsyncSession": AsyncSession, "User": User, "mail": mail, "Oban": Oban,
        "engine": engine, "Session": async_sessionmaker(engine, expire_on_commit=False),
    }  # fmt: skip
    await run("index.md", module)
    async with Oban(engine, queues={"default": 1}):
        await eventually(lambda: mails == ["ada@example.org"])


async def test_errors_and_alerts(engine: AsyncEngine, module: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    tags: list[dict[str, str]] = []
    options: dict[str, Any] = {}
    current: ContextVar[FakeScope] = ContextVar("current")
    current.set(FakeScope({}))
    sentry = SimpleNamespace(
        init=options.update,
        get_isolation_scope=current.get,
        Scope=SimpleNamespace(set_isolation_scope=current.set),
    )
    monkeypatch.setitem(sys.modules, "sentry_sdk", cast(Any, sentry))

    class Logged(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tags.append(current.get().tags)

    class Chat:
        async def send(self, text: str) -> None:
            said.append(text)

    @job(name="docs.fails", max_attempts=1)
    async def fails() -> None:
        current.get().set_tag("user", "7")
        raise ValueError("no")

    @job(name="docs.fails_in_a_thread", max_attempts=1)
    def fails_in_a_thread() -> None:
        raise ValueError("no")

    module |= {"engine": engine, "Oban": Oban, "chat": Chat(), "fails": fails}
    await run("errors-and-alerts.md", module)
    logger = logging.getLogger("oban_sqla.job")
    logger.addHandler(handler := Logged())
    try:
        hooks = [module["SentryScope"](), module["TellTheChat"]()]
        async with Oban(engine, queues={"default": 1}, hooks=hooks) as oban:
            specs = [fails.new(), fails_in_a_thread.new()]
            for spec in specs:
                await oban.enqueue(spec)
                with pytest.raises(oban_sqla.JobDiscarded):
                    await oban.result(spec)
    finally:
        logger.removeHandler(handler)
        workers.remove(["docs.fails", "docs.fails_in_a_thread"])
    assert tags == [{"worker": "docs.fails", "user": "7"}, {"worker": "docs.fails_in_a_thread"}]
    assert current.get().tags == {}
    assert options["include_local_variables"] is False
    assert said == [f"job {spec.id} ({spec.worker}) was discarded: ValueError" for spec in specs]


async def test_migrations(engine: AsyncEngine, module: dict[str, Any], tmp_path: Path, empty_database: str) -> None:
    found = re.findall(r"^```python\n(.*?)^```$", (DOCS / "migrations.md").read_text(), re.DOTALL | re.M)
    revision, env, halves, apart, key = found
    versions = tmp_path / "revisions" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "models.py").write_text(
        "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): ...\n"
    )
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = revisions\n")
    (tmp_path / "revisions" / "env.py").write_text(env)
    (versions / "0001.py").write_text(revision)
    for command in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
        done = finished(["-m", "alembic", *command], tmp_path, {"DATABASE_URL": empty_database})
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"version={oban_sqla.migrations.CURRENT}" in revision
    assert f"version={oban_sqla.migrations.CURRENT}" in halves
    assert finished(["-c", apart], tmp_path, {}).returncode == 0
    module |= {"Base": Base, "Mapped": Mapped, "mapped_column": mapped_column, "ForeignKey": ForeignKey, "Job": Job}
    exec(key, module)
    exports = module["Export"].__table__
    try:
        async with engine.begin() as connection:
            await connection.run_sync(exports.create)
            await connection.run_sync(exports.drop)
    finally:
        Base.metadata.remove(exports)


async def test_limits(engine: AsyncEngine, module: dict[str, Any]) -> None:
    make_session = async_sessionmaker(engine, expire_on_commit=False)
    async with make_session() as session, Oban(engine, queues={"calls": Queue(rate_limit=RateLimit(9, 60))}) as oban:
        module |= {"engine": engine, "job": job, "session": session, "Snooze": oban_sqla.Snooze, "oban": oban}
        await run("limits.md", module)
        assert (await oban.limiter("calls").available()) == 50


async def test_priorities(engine: AsyncEngine, module: dict[str, Any]) -> None:
    @job(name="docs.send_invoice")
    async def send_invoice(order_id: int) -> None: ...

    async with AsyncSession(engine) as session:
        module |= {"engine": engine, "session": session, "send_invoice": send_invoice}
        oban = (await run("priorities.md", module))["oban"]
        added = (await session.execute(select(Job.priority).order_by(Job.id))).scalars().all()
    assert added == [0, 5]
    assert [policy.wait for policy in oban.config.prioritize.all_policies] == [60, None, 300]


async def test_poolers(module: dict[str, Any]) -> None:
    def checked(url: str, **options: Any) -> AsyncEngine:
        return create_async_engine(url.replace("…", "localhost/app"), **options)

    module |= {"create_async_engine": checked}
    assert (await run("poolers.md", module))["engine"].dialect.driver == "psycopg"


async def test_processes(engine: AsyncEngine, module: dict[str, Any]) -> None:
    module |= {"engine": engine, "job": job, "Oban": Oban, "Processes": oban_sqla.Processes}
    await run("processes.md", module)
    assert module["render"].new(report_id=1).worker.endswith("render")


async def test_workers(engine: AsyncEngine, module: dict[str, Any]) -> None:
    class TenantSession(AsyncSession): ...

    plain_engine = create_engine(engine.url.set(drivername="postgresql+psycopg"))
    async with TenantSession(engine) as session:
        module |= {
            "job": job, "injected": injected, "Job": Job, "TenantSession": TenantSession, "session": session,
            "httpx": httpx, "Oban": Oban, "engine": engine, "async_sessionmaker": async_sessionmaker,
            "sessionmaker": sessionmaker, "plain_engine": plain_engine,
        }  # fmt: skip
        await run("workers.md", module)
        await session.flush()
        assert await drain(session, with_safety=True) == {"completed": 1}
    plain_engine.dispose()


async def test_retries_and_timeouts(engine: AsyncEngine, module: dict[str, Any]) -> None:
    module |= {"httpx": httpx}
    await run("retries-and-timeouts.md", module)
    async with AsyncSession(engine) as session:
        session.add_all(
            module["import_file"].new("a.csv", state) for state in ("ready", "locked", "withdrawn", "broken")
        )
        session.add(module["upload"].new("a.csv"))
        assert await drain(session) == {"completed": 2, "scheduled": 1, "cancelled": 1, "discarded": 1}
    waits = module["upload"].worker.delay_for
    late = [waits(lambda at=at: SimpleNamespace(attempt=at), OSError(), at, 20) for at in (1, 4)]
    assert late == [20, 3600]
    asked = httpx.HTTPStatusError(
        "429", request=httpx.Request("GET", "http://x"), response=httpx.Response(429, headers={"Retry-After": "7"})
    )
    assert [module["call"].worker.delay_for(Job, error, 1, 20) for error in (asked, OSError())] == [7, 30]
    assert [Backoff("linear", base=30, jitter=0).delay(at) for at in (1, 2, 3)] == [30, 60, 90]
    assert [Backoff("exponential", base=10, max=600, jitter=0).delay(at) for at in (1, 2, 3, 9)] == [10, 20, 40, 600]
    assert 12 <= sum(15 + 2**at for at in range(1, 20)) / 86_400 < 12.2


async def test_enqueue_from(engine: AsyncEngine, module: dict[str, Any]) -> None:
    class Trial(Base):
        __tablename__ = "docs_trials"
        id: Mapped[int] = mapped_column(primary_key=True)
        on_trial: Mapped[bool]
        trial_end: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session, session.begin():
            session.add_all([Trial(id=n, on_trial=n > 1, trial_end=datetime.now(UTC)) for n in (1, 2, 3)])
        module |= {"Session": async_sessionmaker(engine), "User": Trial}
        assert (await run("enqueue-from.md", module))["count"] == 2
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
        Base.metadata.remove(Base.metadata.tables["docs_trials"])


async def test_job_relationship(engine: AsyncEngine, module: dict[str, Any]) -> None:
    class Own(DeclarativeBase): ...

    relationship, revision = re.findall(r"```python\n(.*?)```", (DOCS / "job-relationship.md").read_text(), re.DOTALL)
    before, after = relationship.split("order.jobs  #")
    module |= {"Base": Own, "Mapped": Mapped, "mapped_column": mapped_column, "select": select}
    exec(before, module)
    async with engine.begin() as connection:
        await connection.run_sync(Own.metadata.create_all)
    try:
        with Session(sync := create_engine(engine.url.set(drivername="postgresql+psycopg"))) as session:
            session.add(order := module["Order"]())
            session.flush()
            session.add(module["invoice"].new(order=order.id))
            session.flush()
            assert [found.args for found in order.jobs] == [{"order": order.id}]
            exec(f"order.jobs  #{after}", module | {"order": order})
            session.rollback()
        sync.dispose()
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Own.metadata.drop_all)
        Own.registry.dispose()
    assert "index_jobs" in revision, "test_the_revisions_of_the_pages runs it"


def test_the_revisions_of_the_pages(empty_database: str) -> None:
    """Those of which a page has no more than the functions: each up and, where it says how, down again."""
    url = empty_database.replace("+asyncpg", "+psycopg")
    parts = [("reference.md", 0, ("upgrade", "downgrade")), ("migrations.md", 2, ("upgrade_tables", "upgrade_indexes")),
             ("job-relationship.md", 1, ("upgrade", "downgrade"))]  # fmt: skip
    with (sync := create_engine(url)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with Operations.context(context) as op:
            for page, number, functions in parts:
                names: dict[str, Any] = {"op": op, "migrations": oban_sqla.migrations}
                exec(blocks(page)[number], names)
                for function in functions:
                    with context.begin_transaction(_per_migration=True):
                        names[function]()
    sync.dispose()


def test_operations() -> None:
    names: dict[str, Any] = {"async_url": oban_sqla.async_url, "create_async_engine": create_async_engine}
    exec(blocks("operations.md")[0], names)
    assert names["engine"].url.drivername == "postgresql+asyncpg"


async def test_the_servers_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not started: tests/embedded does that."""
    server = MagicMock(url="postgresql+asyncpg://app@/app")
    for enter in (server.__enter__, server.__aenter__):
        enter.return_value = server
    start = create_autospec(oban_sqla.embedded.start, return_value=server)
    monkeypatch.setattr(oban_sqla.embedded, "start", start)
    names: dict[str, Any] = {"create_async_engine": create_async_engine}
    await eval(blocks("reference.md")[1], names)
    assert start.call_count == 3


def test_all_python_of_the_pages_is_marked_so_that_it_runs() -> None:
    assert [page.name for page in PAGES if re.search(r"^ *```py\n", page.read_text(), re.M)] == []


def test_every_page_with_python_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    pages = [page.name for page in DOCS.glob("*.md") if "```python" in page.read_text()]
    assert [page for page in pages if f'"{page}"' not in tests and f"docs/{page}" not in tests] == []
