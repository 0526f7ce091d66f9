"""Every form changes what it says, and leaves a row in the audit."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from oban_sqla import Heartbeat, JobSpec, Oban, Unique, job
from oban_sqla.web import Access
from tests.support import eventually
from tests.web.conftest import Browser, audit, insert, opened, states, words


@pytest.mark.parametrize(
    ("verb", "number", "becomes"),
    [("retry", 5, "available"), ("cancel", 0, "cancelled"), ("delete", 5, None)],
)
async def test_a_change_of_one_job_is_made_and_audited(
    engine: AsyncEngine, browser: Browser, ids: list[int], verb: str, number: int, becomes: str | None
) -> None:
    id = ids[number]
    reason = "as asked" + " and again" * 60
    fields = {"verb": verb, "id": id, "step": "do", "back": f"job/{id}?did=edit&n=1", "reason": reason}
    response = await browser.send("/do/jobs", fields)
    assert response.status_code == 303
    page = "jobs" if verb == "delete" else f"job/{id}"
    assert response.headers["location"] == f"../{page}?did={verb}&n=1"
    assert (await states(engine)).get(id) == becomes
    assert await audit(engine) == [("anna", "web", verb, {"ids": [id]}, 1, reason[:500])]
    assert "anna" in words(await browser.page("/audit"))


async def test_many_jobs_are_counted_before_they_are_changed(
    engine: AsyncEngine, browser: Browser, ids: list[int]
) -> None:
    chosen = [("id", ids[5]), ("id", ids[6]), ("verb", "retry"), ("back", "jobs?state=discarded")]
    asked = await browser.send("/do/jobs", chosen)
    assert asked.status_code == 200
    assert "Run again now 2 jobs?" in words(asked.text)
    assert re.search(r'href="../jobs" aria-current="page"', asked.text)
    assert (await states(engine))[ids[5]] == "discarded"
    assert await audit(engine) == []
    done = await browser.send("/do/jobs", _hidden(asked.text))
    assert done.status_code == 303
    assert done.headers["location"] == "../jobs?state=discarded&did=retry&n=2"
    assert {(await states(engine))[id] for id in ids[5:7]} == {"available"}
    assert "2 jobs were made available" in words(await browser.page("/jobs?did=retry&n=2"))


async def test_all_that_match_are_changed_up_to_the_number_that_was_said(
    engine: AsyncEngine, browser: Browser, ids: list[int]
) -> None:
    await insert(engine, *[{"state": "discarded", "worker": "app.many", "queue": "many"}] * 1_500)
    fields = [("all", "yes"), ("q", "state=discarded&queue=many"), ("verb", "delete"), ("back", "jobs")]
    asked = await browser.send("/do/jobs", fields)
    assert "Delete 1,500 jobs?" in words(asked.text)
    await insert(engine, {"state": "discarded", "worker": "app.many", "queue": "many"})
    done = await browser.send("/do/jobs", _hidden(asked.text))
    assert done.headers["location"].endswith("n=1500")
    async with engine.connect() as connection:
        left = await connection.scalar(text("SELECT count(*) FROM oban_jobs WHERE queue = 'many'"))
    assert left == 1
    rows = await audit(engine)
    assert [row.jobs for row in rows] == [1_000, 500]
    assert rows[0].target["search"] == "state:discarded queue:many"


@pytest.mark.parametrize("search", ["queue:many", "stat=discarded", "queue=many&id=abc", "state=", "queue=%20"])
async def test_a_search_that_is_not_understood_changes_no_job(
    engine: AsyncEngine, browser: Browser, ids: list[int], search: str
) -> None:
    before = await states(engine)
    answer = await browser.send("/do/jobs", {"all": "yes", "q": search, "verb": "delete", "step": "do"})
    assert (answer.status_code, "q: expected" in words(answer.text)) == (400, True)
    assert await states(engine) == before


async def test_no_form_changes_more_than_ten_thousand_jobs(
    engine: AsyncEngine, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("oban_sqla.web.actions.jobs")
    assert (module.MOST, module.SLICE) == (10_000, 1_000)
    monkeypatch.setattr(module, "MOST", 20)
    monkeypatch.setattr(module, "SLICE", 8)
    await insert(engine, *[{"state": "available", "worker": "app.w"}] * 30)
    asked = await browser.send("/do/jobs", {"all": "yes", "q": "", "verb": "cancel"})
    assert "Cancel 20 jobs?" in words(asked.text)
    assert "There are more than this page changes at a time" in words(asked.text)
    await browser.send("/do/jobs", _hidden(asked.text))
    assert sorted((await states(engine)).values()) == ["available"] * 10 + ["cancelled"] * 20
    assert [row.jobs for row in await audit(engine)] == [8, 8, 4]


async def test_a_group_of_failures_is_retried(engine: AsyncEngine, browser: Browser, ids: list[int]) -> None:
    page = await browser.page("/failures")
    fields = [
        ("verb", "retry"),
        *((name, _value(page, name)) for name in ("worker", "signature")),
        ("back", "failures"),
    ]
    asked = await browser.send("/do/jobs", fields)
    assert "Run again now 3 jobs?" in words(asked.text)
    await browser.send("/do/jobs", _hidden(asked.text))
    assert {(await states(engine))[id] for id in ids[5:8]} == {"available"}
    [row] = await audit(engine)
    assert (row.verb, row.jobs, row.target["worker"]) == ("retry", 3, "app.hook")


async def test_a_signal_that_no_job_takes_is_refused(engine: AsyncEngine, browser: Browser) -> None:
    [done, waits] = await insert(
        engine, {"state": "completed", "worker": "app.w"}, {"state": "scheduled", "worker": "app.w"}
    )
    for fields, says in (
        ({"id": done, "name": "approved"}, f"Nothing was sent: job {done} is completed."),
        ({"id": waits, "name": "approved", "payload": "{by: ann}"}, "payload: expected JSON"),
        ({"id": waits, "name": ""}, "The field name is missing"),
    ):
        answer = await browser.send("/do/signal", fields)
        assert answer.status_code == 400
        assert says in words(answer.text)
    assert "Send a signal" not in await browser.page(f"/job/{done}")


async def test_options_of_a_waiting_job_are_edited_but_never_its_worker(
    engine: AsyncEngine, browser: Browser, ids: list[int]
) -> None:
    page = await browser.page(f"/edit/{ids[0]}")
    assert 'name="worker"' not in page
    fields = {
        "id": ids[0], "queue": "slow", "priority": "3", "max_attempts": "5", "with_args": "yes",
        "args": '{"user_id": 9}', "tags": "a, b", "worker": "evil",
    }  # fmt: skip
    assert (await browser.send("/do/edit", fields)).status_code == 303
    async with engine.connect() as connection:
        row = (await connection.execute(text(f"SELECT * FROM oban_jobs WHERE id = {ids[0]}"))).one()
    assert (row.queue, row.priority, row.max_attempts, row.args, row.tags) == ("slow", 3, 5, {"user_id": 9}, ["a", "b"])
    assert row.worker == "app.mail.send"
    assert [row.verb for row in await audit(engine)] == ["edit"]
    ended = await browser.send("/do/edit", {"id": ids[4], "priority": "1"})
    assert (ended.status_code, f"job {ids[4]} was not changed: it is " in words(ended.text).lower()) == (400, True)
    for name in ("queue", "priority", "max_attempts"):
        blank = await browser.send("/do/edit", {"id": ids[0], f"seen_{name}": "another", name: "", "tags": "c"})
        assert (blank.status_code, f"{name}: the field is blank" in blank.text) == (400, True)
    below = await browser.send("/do/edit", {"id": ids[0], "priority": "-1"})
    assert "priority: expected a whole number, 0 or above, got" in below.text


async def test_a_form_of_a_job_that_is_gone_says_so(engine: AsyncEngine, browser: Browser, ids: list[int]) -> None:
    page = await browser.page(f"/edit/{ids[0]}")
    shown = {name: _value(page, name) for name in ("id", "queue", "seen_queue")}
    as_shown = await browser.send("/do/edit", shown)
    assert (as_shown.status_code, "every field is as it was shown" in words(as_shown.text)) == (400, True)
    await Oban(engine).delete(ids[0])
    for verb, fields in (("edit", shown), ("edit", {**shown, "queue": "slow"}), ("signal", {**shown, "name": "go"})):
        answer = await browser.send(f"/do/{verb}", fields)
        gone = f"There is no job {ids[0]}: it was deleted, pruned, or never committed."
        assert (answer.status_code, gone in words(answer.text)) == (404, True), verb


async def test_a_new_job_is_enqueued(engine: AsyncEngine, browser: Browser) -> None:
    fields = {"worker": "app.new", "args": '{"a": 1}', "queue": "q", "tags": "x", "schedule_in": "60"}
    response = await browser.send("/do/enqueue", fields)
    assert response.status_code == 303
    [(id, state)] = (await states(engine)).items()
    assert (f"../job/{id}?" in response.headers["location"], state) == (True, "scheduled")
    assert [(row.verb, row.jobs) for row in await audit(engine)] == [("enqueue", 1)]
    assert "app.new" in await browser.page(f"/new?like={id}")
    wrong = await browser.send("/do/enqueue", {"worker": "app.new", "args": "[1]"})
    assert wrong.status_code == 400
    assert "expected a JSON object" in words(wrong.text)


async def test_a_unique_job_that_is_there_counts_as_none_in_the_audit(engine: AsyncEngine, browser: Browser) -> None:
    @job(name="actions.once", unique=Unique())
    def once() -> None: ...

    await Oban(engine).crons.put("nightly", "0 3 * * *", once.new())
    cron, form = {"name": "nightly", "verb": "run"}, {"worker": "actions.once"}
    for path, fields in (("cron", cron), ("cron", cron), ("enqueue", form)):
        response = await browser.send(f"/do/{path}", fields)
        assert response.status_code == 303
    assert [(row.verb, row.jobs) for row in await audit(engine)] == [("cron.run", 1), ("cron.run", 0), ("enqueue", 0)]
    page = response.headers["location"].removeprefix("..")
    assert "the same job was enqueued before" in words(await browser.page(page))


async def test_queues_are_controlled(engine: AsyncEngine, browser: Browser) -> None:
    heartbeat = Heartbeat(interval=0.2, stale_after=10, dead_after=60)
    async with Oban(engine, queues={"images": 3}, node="web-1", heartbeat=heartbeat) as oban:

        async def send(verb: str, **fields: str) -> None:
            response = await browser.send("/do/queue", {"queue": "images", "verb": verb, "back": "queues"} | fields)
            assert response.status_code == 303, words(response.text)

        def limit() -> Any:
            info = oban.check_queue("images")
            return None if info is None else (info.limit, info.paused)

        await send("pause", reason="price list is wrong")
        await eventually(lambda: limit() == (3, True))
        assert "paused" in words(await browser.page("/queues"))
        assert "price list is wrong" in words(await browser.page("/"))
        await send("resume", node="web-1")
        await eventually(lambda: limit() == (3, False))
        await send("scale", limit="7")
        await eventually(lambda: limit() == (7, False))
        await send("limit", global_limit="20", rate_limit="100/60")
        await send("suspend", seconds="60")
        await eventually(lambda: _says(browser, "It is suspended"))
        await send("reset")
        await eventually(lambda: _says(browser, "Allowance left"))
        await send("stop")
        await eventually(lambda: limit() is None)
        await send("start", limit="2")
        await eventually(lambda: limit() == (2, False))
    verbs = [row.verb for row in await audit(engine)]
    assert verbs == [f"queue.{verb}" for verb in
                     ("pause", "resume", "scale", "limit", "suspend", "reset", "stop", "start")]  # fmt: skip


async def _says(browser: Browser, what: str) -> bool:
    return what in words(await browser.page("/queue?name=images"))


async def test_the_crontab_is_changed(engine: AsyncEngine, browser: Browser) -> None:
    crons = Oban(engine).crons
    await crons.put("nightly", "0 3 * * *", JobSpec("app.report"))
    for verb in ("run", "pause", "resume", "delete"):
        assert (await browser.send("/do/cron", {"name": "nightly", "verb": verb, "step": "do"})).status_code == 303
        paused = [entry.paused for entry in await crons.all()]
        assert paused == {"run": [False], "pause": [True], "resume": [False], "delete": []}[verb]
    assert list((await states(engine)).values()) == ["available"]
    assert [row.verb for row in await audit(engine)] == ["cron.run", "cron.pause", "cron.resume", "cron.delete"]


async def test_what_is_refused_leaves_no_row(engine: AsyncEngine, ids: list[int]) -> None:
    async with opened(engine, authorize=Access.READ) as reader:
        for path, fields in FORMS:
            response = await reader.send(path, fields)
            assert response.status_code == 403, path
        page = await reader.page(f"/job/{ids[0]}")
        assert "<form" not in page
    async with opened(engine, authorize=may_retry) as some:
        assert (await some.send("/do/jobs", {"verb": "delete", "id": ids[0], "step": "do"})).status_code == 403
        assert (await some.send("/do/jobs", {"verb": "retry", "id": ids[5], "step": "do"})).status_code == 303
    assert [row.verb for row in await audit(engine)] == ["retry"]


def may_retry(_request: Request) -> set[str]:
    return {"retry"}


FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/do/jobs", {"verb": "retry", "id": 1, "step": "do"}),
    ("/do/jobs", {"verb": "delete", "all": "yes", "q": "", "step": "do"}),
    ("/do/edit", {"id": 1, "priority": 1}),
    ("/do/signal", {"id": 1, "name": "approved"}),
    ("/do/enqueue", {"worker": "w"}),
    ("/do/queue", {"queue": "mail", "verb": "pause"}),
    ("/do/cron", {"name": "x", "verb": "run"}),
)


def _hidden(html: str) -> list[tuple[str, str]]:
    """The hidden fields of the form that asks."""
    form = re.search(r'<form class="fields".*?</form>', html, re.DOTALL)
    assert form is not None
    return [
        (name, value.replace("&amp;", "&").replace("&#34;", '"'))
        for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[0])
    ]


def _value(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found is not None
    return found[1]


async def test_what_did_not_work_leads_back_to_its_form(engine: AsyncEngine) -> None:
    fields = {"queue": "new", "verb": "start", "back": "queue?name=new"}
    async with opened(engine) as browser:
        refused = await browser.send("/do/queue", fields)
        assert refused.status_code == 400
        assert "it needs a limit" in words(refused.text)
        assert '<a href="../queue?name=new" data-back>Back</a>' in refused.text
    async with opened([Oban(engine, name="a"), Oban(engine, name="b")]) as browser:
        refused = await browser.send("/do/queue?instance=b", fields)
        assert '<a href="../queue?instance=b&amp;name=new" data-back>Back</a>' in refused.text
        [id] = await insert(engine, {"state": "available", "worker": "app.w"})
        asked = await browser.send("/do/jobs?instance=b", {"id": id, "verb": "delete", "back": "jobs?queue=q"})
        assert 'href="../jobs?instance=b&amp;queue=q" data-back>Leave it' in asked.text
