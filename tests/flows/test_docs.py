"""Each snippet of the page about workflows runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import undefer
from typing_extensions import TypedDict

import oban_sqla
from oban_sqla import Workflow, job
from oban_sqla.testing import drain
from tests.processes import ROOT

PAGE = (ROOT / "docs/workflows.md").read_text()
SNIPPETS = re.findall(r"^## (.*?)$(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


class User(TypedDict):
    email: str


@job(name="docs.load_user")
async def load_user(user_id: int) -> User:
    return {"email": "ada@example.org"}


@job(name="docs.send_welcome")
async def send_welcome(email: str) -> None: ...


@job(name="docs.list_pages")
async def list_pages(url: str) -> list[str]:
    return [f"{url}/{n}" for n in range(2)]


@job(name="docs.parse")
async def parse(page: str, lang: str = "en") -> int:
    return len(page)


@job(name="docs.store")
async def store(counts: list[int]) -> int:
    return sum(counts)


@job(name="docs.charge")
async def charge(order: int) -> str:
    return f"payment {order}"


@job(name="docs.notify")
async def notify(order: int) -> None: ...


GIVEN: dict[str, Any] = {
    **{name: getattr(oban_sqla, name) for name in oban_sqla.__all__},
    "User": User,
    "load_user": load_user,
    "send_welcome": send_welcome,
    "list_pages": list_pages,
    "parse": parse,
    "store": store,
    "charge": charge,
    "notify": notify,
    "select": select,
    "undefer": undefer,
}


@pytest.mark.parametrize(("title", "code"), SNIPPETS, ids=[title for title, _ in SNIPPETS])
async def test_a_snippet_runs(title: str, code: str, engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        # The workers of the snippets that only declare one are those of this file.
        code = re.sub(r"^@job\nasync def \w+\(.*\) -> \w+: \.\.\.\n", "", code, flags=re.MULTILINE)
        code = code.replace("@job\n", f"@job(name={title!r})\n")
        names: dict[str, Any] = GIVEN | {"session": session}
        body = "".join(f"    {line}\n" for line in code.splitlines())
        exec(f"async def snippet():\n{body}    return locals()\n", names)
        found: dict[str, Any] = await names["snippet"]()
        await session.flush()
        assert "failed" not in (await drain(session))
        if isinstance(flow := found.get("flow"), Workflow) and flow.id is not None:
            await session.refresh(flow)
            assert flow.state == "completed"
        await session.rollback()
