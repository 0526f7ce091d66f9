"""Who is refused, and what a hostile job can't do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from oban_sqla import Job, Oban
from oban_sqla.errors import InvalidOption
from oban_sqla.web import Access, Operator, dashboard
from tests.web.conftest import Browser, audit, insert, opened, states, words

PAGES = ("/", "/jobs", "/queues", "/failures", "/crons", "/nodes", "/audit", "/system", "/new")


async def test_without_authorize_everyone_is_refused_and_told_how_to_open_it(engine: AsyncEngine, ids: Any) -> None:
    async with opened(engine, authorize=None) as browser:
        for path in (*PAGES, f"/job/{ids[0]}"):
            response = await browser.get(path)
            assert response.status_code == 403
            assert "authorize=" in response.text
            assert "app.mail" not in response.text
        assert (await browser.send("/do/jobs", {"verb": "delete", "id": ids[0], "step": "do"})).status_code == 403


async def _coroutine(request: Request) -> Operator:
    return Operator("bea", Access.READ)


def _raises(request: Request) -> Access:
    raise RuntimeError("no session")


def always(answer: Any) -> Callable[[Request], Any]:
    return lambda _request: answer


FAULTS: Sequence[Any] = (always({"fly"}), always("read"), _raises)
"""Answers that refuse, and are logged."""


@pytest.mark.parametrize(
    ("authorize", "status"),
    [
        (Access.READ, 200),
        (Access.NONE, 403),
        (always(Access.ALL), 200),
        (always(Access.NONE), 403),
        (always(None), 403),
        (always(False), 403),
        (always(set[str]()), 403),
        (always({"cancel"}), 200),
        (FAULTS[0], 403),
        (FAULTS[1], 403),
        (always(Operator("x", Access.NONE)), 403),
        (_coroutine, 200),
        (FAULTS[2], 403),
    ],
)
async def test_authorize_decides(
    engine: AsyncEngine, authorize: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(engine, authorize=authorize) as browser:
        assert (await browser.get("/queues")).status_code == status
    # To refuse somebody is no fault of the application; an answer that is none, or an exception, is one.
    is_fault = status == 403 and authorize in FAULTS
    assert ("dashboard: authorize failed, so the request is refused" in caplog.text) is is_fault


async def test_who_may_only_look_sees_no_form_that_is_sent(engine: AsyncEngine, ids: list[int]) -> None:
    async with opened(engine, authorize=Access.READ) as browser:
        for path in (*PAGES, "/queue?name=mail", f"/job/{ids[0]}", f"/edit/{ids[0]}"):
            response = await browser.get(path)
            assert 'method="post"' not in response.text
            assert "checkbox" not in response.text
            assert response.status_code == (403 if path.startswith(("/new", "/edit")) else 200)


async def test_a_form_of_another_site_changes_nothing(engine: AsyncEngine, ids: list[int]) -> None:
    fields = {"verb": "delete", "id": ids[0], "step": "do"}
    before = await states(engine)
    async with opened(engine) as browser:
        forged: list[dict[str, str]] = [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"},
            {"sec-fetch-site": "cross-site", "origin": "http://test"},
        ]
        for headers in forged:
            assert (await browser.send("/do/jobs", fields, **headers)).status_code == 403
        for headers in ({}, {"origin": "http://evil.test"}, {"origin": "null"}, {"origin": "http://[test"}):
            response = await browser.client.post("/do/jobs", data=fields, headers=headers)
            assert response.status_code == 403
        assert (await browser.get("/do/jobs")).status_code == 404
        assert await states(engine) == before
        assert await audit(engine) == []
        old = await browser.client.post("/do/jobs", data=fields, headers={"origin": "http://test"})
        assert old.status_code == 303


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


async def test_what_a_hostile_job_says_is_only_text(engine: AsyncEngine) -> None:
    job = {
        "state": "discarded", "worker": EVIL, "queue": EVIL, "tags": [EVIL], "args": {EVIL: EVIL},
        "meta": {"return": EVIL}, "error": EVIL, "attempted_by": [EVIL, "x"], "attempt": 1,
    }  # fmt: skip
    [id] = await insert(engine, job)
    await insert(engine, job | {"state": "available"}, job | {"state": "executing"}, job | {"state": "retryable"})
    async with opened(engine) as browser:
        paths = [*PAGES, f"/job/{id}", f"/new?like={id}", f"/edit/{id}", "/jobs?worker=%3Cscript%3E"]
        for path in paths:
            page = await browser.page(path)
            assert "<script>alert" not in page, path
            assert "<img" not in page, path
            assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(\S{2})", page), path
            assert not re.search(r"\son\w+=", re.sub(r">[^<]*<|\"[^\"]*\"", "", page)), path


async def test_every_answer_has_a_strict_policy_and_nothing_is_inline_or_from_elsewhere(
    engine: AsyncEngine, ids: list[int]
) -> None:
    async with opened(engine) as browser:
        for path in (*PAGES, f"/job/{ids[5]}", "/nothing", "/queue?name=mail"):
            response = await browser.get(path)
            policy = response.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["cache-control"] == "no-store"
            page = response.text
            assert not re.search(r"<style|\sstyle=|<script>|\shx-on|javascript:", page), path
            assert not re.findall(r'(?:src|href|action|hx-get)="(?!\./|\.\./|#|data:,)([^"]*)"', page), path


async def test_static_files_are_there_and_kept_for_ever(engine: AsyncEngine) -> None:
    async with opened(engine) as browser:
        page = await browser.page("/")
        found = re.findall(r'"\./(static/[^"]+)"', page)
        assert len(found) == 4
        for path in found:
            response = await browser.get("/" + path)
            assert response.status_code == 200
            assert "immutable" in response.headers["cache-control"]
        assert (await browser.get("/static/../dashboard.py")).status_code == 404


async def test_redact_decides_what_is_shown_and_found(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    [id] = await insert(engine, {"state": "available", "worker": "w", "args": {"user": 7, "secret": "hunter2"}})

    def redact(job: Job) -> dict[str, Any]:
        return {**job.args, "secret": "…"}

    async with opened(engine, redact=redact) as browser:
        for path in ("/jobs", f"/job/{id}", f"/edit/{id}", f"/new?like={id}"):
            page = await browser.page(path)
            assert "hunter2" not in page, path
            assert "7" in page
        assert f'id="job-{id}"' in await browser.page("/jobs?args.user=7")
        assert f'id="job-{id}"' not in await browser.page("/jobs?args.secret=hunter2")
        fields = {"all": "yes", "q": "args.secret=hunter2", "verb": "delete"}
        assert (await browser.send("/do/jobs", fields)).status_code == 400

    def fails(job: Job) -> dict[str, Any]:
        raise RuntimeError("no")

    def nothing(job: Job) -> None:
        return None

    for hidden in (fails, nothing):
        async with opened(engine, redact=hidden) as browser:
            for path in ("/jobs", f"/job/{id}"):
                page = await browser.page(path)
                assert "hunter2" not in page
                assert "redacted" in page
    [line] = [record.getMessage() for record in caplog.records if "redact failed" in record.getMessage()]
    assert line.endswith("so its arguments are not shown; this is told once a minute: RuntimeError")


async def test_encrypted_arguments_and_results_are_never_shown(engine: AsyncEngine) -> None:
    token = {"encrypted": "gAAAAABsecret"}
    row = {"state": "completed", "worker": "w", "args": token, "meta": {"return": token, "recorded": True}}
    [id] = await insert(engine, row)
    async with opened(engine) as browser:
        for path in ("/jobs", f"/job/{id}", f"/new?like={id}"):
            page = await browser.page(path)
            assert "gAAAA" not in page, path
            assert "encrypted" in page or "not shown" in words(page)


def no_request() -> Access:
    return Access.ALL


async def later(job: Job) -> object:
    return job.args


def two_arguments(job: Job, args: object) -> object:
    return args


def test_bad_options_fail_when_the_dashboard_is_made(engine: Any) -> None:
    with pytest.raises(InvalidOption, match="authorize must be"):
        dashboard(engine, authorize="read")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="redact must be"):
        dashboard(engine, redact=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="authorize is called with the request, and .* does not fit that"):
        dashboard(engine, authorize=no_request)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="redact must be a plain function of a job, got <function"):
        dashboard(engine, redact=later)
    with pytest.raises(InvalidOption, match="redact is called with a job, and .* does not fit that"):
        dashboard(engine, redact=two_arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="expected an Access or a set of verbs, got {'delete': False}"):
        Operator("anna", {"delete": False})
    with pytest.raises(InvalidOption, match="at least one"):
        dashboard([])
    with pytest.raises(InvalidOption, match="expected an Oban"):
        dashboard("postgresql://…")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="two instances"):
        dashboard([Oban(engine), Oban(engine)])
    with pytest.raises(InvalidOption, match="expected verbs"):
        Operator("anna", {"fly"})


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * levels + "1" + closing * levels


async def test_a_job_that_is_too_deep_or_too_large_is_shown_in_part_and_hides_no_other(engine: AsyncEngine) -> None:
    [other] = await insert(engine, {"state": "available", "worker": "app.fine", "args": {"n": 1}})
    ids: list[int] = []
    sql = "INSERT INTO oban_jobs (state, worker, args, meta, errors, discarded_at) VALUES "
    errors = "(SELECT jsonb_agg(jsonb_build_object('error', repeat('e', 9000))) FROM generate_series(1, 300))"
    many = "(SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 99999) n)"
    rows = [
        f"('discarded', 'app.deep', '{nested(5_000)}', '{nested(5_000)}', '{nested(5_000, '[', ']')}', now())",
        f"('discarded', 'app.large', jsonb_build_object('blob', repeat('x', 8000000)), '{{}}', {errors}, now())",
        f"('available', 'app.many', {many}, '{{}}', '[]', NULL)",
    ]
    async with engine.begin() as connection:
        for row in rows:
            ids.append((await connection.exec_driver_sql(f"{sql}{row} RETURNING id")).scalar_one())

    def shows(job: Job) -> dict[str, Any]:
        return job.args

    for redact in (None, shows):
        async with opened(engine, redact=redact) as browser:
            page = await browser.page("/jobs")
            assert all(f'id="job-{id}"' in page for id in (other, *ids))
            assert "large" in words(page)
            for id in ids:
                for path in (f"/job/{id}", f"/job/{id}?show=all", f"/edit/{id}", f"/new?like={id}"):
                    page = await browser.page(path)
                    assert len(page) < 4_500_000 if "show" in path else len(page) < 500_000, path
                assert 'name="args"' not in await browser.page(f"/edit/{id}")
            assert "of 8,000,012 characters" in words(await browser.page(f"/job/{ids[1]}")) or redact is not None
            await browser.page("/failures")


@pytest.mark.parametrize(
    "path",
    [
        "jobs?since=99999999999d", "jobs?after=99999999999999999999", "jobs?state=completed&after=2026-01-01~1",
        "jobs?state=completed&after=0001-01-01T00:00:00~1", "jobs?worker=%00", "jobs?args.a=%00", "jobs?q=%00",
        "jobs?args.n=1e999", f"jobs?args.{'a.' * 2_000}a=1", f"jobs?args.a={'[' * 3_000}", "jobs?args.n=NaN",
        "queue?name=%00", "failures?worker=%00", "flows?after=-1", "audit?after=1e9", "job/9223372036854775808",
        "new?like=99999999", "jobs?error=%25%5C_", "jobs?worker=%25_%5C*", "?period=zz", "jobs?q=%22", "jobs//",
    ],
)  # fmt: skip
async def test_a_wrong_url_is_answered_with_what_is_wrong(engine: AsyncEngine, browser: Browser, path: str) -> None:
    response = await browser.get(f"/{path}")
    assert response.status_code in (200, 303, 400, 404)
    assert 'class="trouble"' not in response.text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("edit", {"scheduled_at": "9999-12-31T23:59:59-14:00"}),
        ("edit", {"scheduled_at": "soon"}),
        ("edit", {"args": "[" * 3_000}),
        ("edit", {"args": '{"a":' * 3_000 + "1" + "}" * 3_000}),
        ("edit", {"args": '{"n": 123456789012345678901234567890.10}'}),
        ("edit", {"args": '{"n": NaN}'}),
        ("edit", {"args": '{"n": "\\u0000"}'}),
        ("edit", {"queue": "\0"}),
        ("edit", {"priority": "10"}),
        ("enqueue", {"worker": "w", "args": "[]"}),
        ("enqueue", {"worker": "w", "schedule_in": "9" * 15}),
        ("enqueue", {"worker": "w\0"}),
        ("queue", {"queue": "q", "verb": "scale", "limit": "0"}),
        ("queue", {"queue": "q", "verb": "limit", "rate_limit": "often"}),
        ("queue", {"queue": "q", "verb": "limit", "with_partition": "yes", "partition": "args.a\rargs.b"}),
        ("queue", {"queue": "q", "verb": "suspend"}),
        ("queue", {"queue": "q", "verb": "fly"}),
        ("cron", {"name": "nothing", "verb": "delete", "step": "do"}),
        ("cron", {"name": "nothing", "verb": "run"}),
        ("flow", {"id": "99", "verb": "delete"}),
        ("jobs", {"verb": "retry"}),
        ("jobs", {"verb": "fly", "id": "1"}),
        ("nothing", {"verb": "retry"}),
    ],
)
async def test_a_wrong_form_says_what_is_wrong_and_changes_nothing(
    engine: AsyncEngine, browser: Browser, path: str, fields: dict[str, str]
) -> None:
    [id] = await insert(engine, {"state": "available", "worker": "w", "args": {"n": 1}})
    response = await browser.send(f"/do/{path}", ({"id": str(id)} if path == "edit" else {}) | fields)
    assert response.status_code in (400, 404)
    assert "The log of the server" not in response.text
    assert await states(engine) == {id: "available"}
    assert await audit(engine) == []


@pytest.mark.parametrize("back", ["https://evil.test", "//evil.test", "jobs?a=1\r\nset-cookie: a=b", "../evil", "JOBS"])
async def test_a_form_leads_back_to_a_page_of_the_dashboard_alone(browser: Browser, ids: list[int], back: str) -> None:
    sent = await browser.send("/do/jobs", {"id": ids[0], "verb": "cancel", "step": "do", "back": back})
    assert sent.headers["location"] == "../?did=cancel&n=1"


async def test_what_redact_hides_can_not_be_overwritten_with_what_it_shows(engine: AsyncEngine) -> None:
    [id] = await insert(engine, {"state": "available", "worker": "w", "args": {"user": 7, "secret": "hunter2"}})

    def hides(job: Job) -> dict[str, Any]:
        return {**job.args, "secret": "…"}

    def shows(job: Job) -> dict[str, Any]:
        return job.args

    async with opened(engine, redact=hides) as browser:
        page = await browser.page(f"/edit/{id}")
        assert 'name="args"' not in page
        assert "not all of them are shown" in words(page)
        assert "Not all of the arguments" in words(await browser.page(f"/new?like={id}"))
    async with opened(engine, redact=shows) as browser:
        assert 'name="args"' in await browser.page(f"/edit/{id}")


VERB_FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "retry": ("jobs", {"verb": "retry", "id": 1, "step": "do"}),
    "cancel": ("jobs", {"verb": "cancel", "id": 1, "step": "do"}),
    "delete": ("jobs", {"verb": "delete", "id": 1, "step": "do"}),
    "edit": ("edit", {"id": 1, "priority": 1}),
    "enqueue": ("enqueue", {"worker": "w"}),
    "queues": ("queue", {"queue": "mail", "verb": "pause"}),
    "crons": ("cron", {"name": "x", "verb": "run"}),
    "flows": ("flow", {"id": 1, "verb": "retry"}),
}


@pytest.mark.parametrize("verb", VERB_FORMS)
async def test_a_set_of_verbs_allows_these_and_no_other(engine: AsyncEngine, ids: list[int], verb: str) -> None:
    async with opened(engine, authorize=always({verb})) as browser:
        for other, (path, fields) in VERB_FORMS.items():
            response = await browser.send(f"/do/{path}", fields)
            assert (response.status_code == 403) == (other != verb), (other, response.status_code)
        page = await browser.page(f"/job/{ids[7]}")
        for name in ("retry", "cancel", "delete"):
            assert (f'name="verb" value="{name}"' in page) == (name == verb)
        assert ("/edit/" in page) == (verb == "edit")
        assert ("/new?like" in page) == (verb == "enqueue")
        assert ("<form" in await browser.page("/crons")) is False, "there is no entry"
