"""Every page shows what it promises."""

from __future__ import annotations

import html
import re
from importlib import import_module
from types import SimpleNamespace
from urllib.parse import urlencode

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Job, JobSpec, Oban
from oban_sqla.insight import glance
from oban_sqla.insight.suggestions import part
from oban_sqla.web.query import typed as read_typed
from tests.runtime.helpers import execute
from tests.web.conftest import Browser, insert, opened, words

PAGES = ("", "jobs", "queues", "failures", "crons", "nodes", "audit", "system", "new")


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there_with_and_without_jobs(engine: AsyncEngine, browser: Browser, path: str) -> None:
    await browser.page(f"/{path}")
    async with opened(engine) as other:
        await insert(engine, {"state": "available", "worker": "app.mail.send", "queue": "mail"})
        assert "oban_sqla" in await other.page(f"/{path}")


async def test_the_overview_says_first_what_needs_attention(browser: Browser, ids: list[int]) -> None:
    page = words(await browser.page("/"))
    assert "No node is alive" in page
    assert "mail is not run by any node: 2 jobs wait" in page
    assert page.index("Needs attention") < page.index("Slots in use")


async def test_the_list_has_every_job_and_narrows_by_state_queue_worker_tag_args_and_error(
    browser: Browser, ids: list[int]
) -> None:
    async def found(query: str) -> set[int]:
        page = await browser.page(f"/jobs?{query}")
        assert "trouble" not in page, words(page)
        return {int(id) for id in re.findall(r'id="job-(\d+)"', page)}

    assert await found("") == set(ids)
    assert await found("state=discarded") == {ids[5], ids[6]}
    assert await found("state=discarded&state=retryable") == {ids[5], ids[6], ids[7]}
    assert await found("state=retryable") == {ids[7]}
    assert await found("state=available&queue=mail") == {ids[0], ids[1]}
    assert await found("queue=mail") == {ids[0], ids[1], ids[4]}
    assert await found("worker=app.report") == {ids[2], ids[8], ids[9]}
    assert await found("worker=app.*") == set(ids)
    assert await found("tag=tenant-1") == {ids[0]}
    assert await found("args.user_id=8") == {ids[1]}
    assert await found("meta.return=42") == {ids[4]}
    assert await found("node=web-1") == {ids[3]}
    assert await found("error=BOOM+18") == {ids[6]}
    assert await found("since=1h&state=executing") == {ids[3]}
    assert await found("queue=nothing") == set()


async def test_what_is_typed_becomes_a_url_that_holds_all_of_it(browser: Browser, ids: list[int]) -> None:
    typed = await browser.get("/jobs?state=available&q=worker:app.mail.send+args.user_id:7")
    assert typed.status_code == 303
    assert typed.headers["location"] == "./jobs?state=available&worker=app.mail.send&args.user_id=7"
    assert (await browser.get(f"/jobs?q={ids[0]}")).headers["location"] == f"./job/{ids[0]}"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("id:abc", "id: expected the id of a job, a whole number, got 'abc'"),
        ("queue: mail", "queue: expected a value right behind the colon, such as queue:mail"),
        ("args.user_id:", "args.user_id: expected a value right behind the colon, such as args.user_id:7"),
        ("tag:tenant-1 tag:tenant-2", "tag: expected one value, got 'tenant-1' and 'tenant-2'"),
        ("mail send", "worker: expected one value, got '*mail*' and '*send*'"),
    ],
)
async def test_a_part_of_a_search_that_would_not_count_is_refused(
    browser: Browser, ids: list[int], typed: str, said: str
) -> None:
    answer = await browser.get("/jobs?" + urlencode({"q": typed}))
    if answer.status_code == 303:
        answer = await browser.get(answer.headers["location"].removeprefix("."))
    assert answer.status_code == 400
    assert said in html.unescape(words(answer.text))


def test_what_is_suggested_is_read_as_it_is_meant() -> None:
    for name in ("mail", "very slow", "it's", 'say "hi"', "back\\slash", "a:b"):
        assert read_typed(part("queue", name)) == ([("queue", name)], None)


async def test_pages_of_the_list_follow_each_other_without_gap_or_repetition(
    engine: AsyncEngine, browser: Browser
) -> None:
    many = [{"state": state, "worker": "app.mail.send", "queue": "mail"} for state in ("available", "completed")] * 60
    expected = await insert(engine, *many)
    for query in ("", "state=completed", "state=available&queue=mail", "queue=mail"):
        seen: list[int] = []
        path: str | None = f"/jobs?{query}"
        while path is not None:
            page = await browser.page(path)
            seen += [int(id) for id in re.findall(r'id="job-(\d+)"', page)]
            more = re.search(r'href="\./(jobs\?[^"]*after=[^"]*)">Next page', page)
            path = "/" + more[1].replace("&amp;", "&") if more else None
        wanted = [id for id, job in zip(expected, many, strict=True) if "state" not in query or job["state"] in query]
        assert sorted(seen) == wanted, query


async def test_a_job_says_why_it_does_not_run_and_what_happened(browser: Browser, ids: list[int]) -> None:
    page = words(await browser.page(f"/job/{ids[0]}"))
    assert "app.mail.send" in page
    assert "o living node runs the queue 'mail'" in html.unescape(page)
    assert "Run oban-sqla start ... --queues mail=10" in html.unescape(page), "a command is as one types it"
    failed = words(await browser.page(f"/job/{ids[5]}"))
    assert "boom 17" in failed
    done = words(await browser.page(f"/job/{ids[4]}"))
    assert "Result" in done
    assert "42" in done


async def test_a_job_that_is_gone_is_not_found(browser: Browser) -> None:
    for path in ("/job/999999", "/job/x", "/nothing", "/queue?name=nothing"):
        assert (await browser.get(path)).status_code == 404


async def test_numbers_that_python_and_javascript_can_not_hold_are_shown_as_they_are(
    engine: AsyncEngine, browser: Browser
) -> None:
    [id] = await insert(engine, {"state": "available", "worker": "w"})
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            'UPDATE oban_jobs SET args = \'{"n": 123456789012345678901234567890.10, "big": 9007199254740993}\''
        )
    page = await browser.page(f"/job/{id}")
    assert "123456789012345678901234567890.10" in page
    assert "9007199254740993" in page


async def test_a_job_whose_times_python_does_not_have_is_shown_with_all_others(any_engine: AsyncEngine) -> None:
    odd = ("-infinity", "infinity", "4714-11-24 BC", "294276-01-01")
    common = {"state": "discarded", "queue": "q"}
    times = [dict.fromkeys(("scheduled_at", "inserted_at"), at) for at in odd]
    made = await insert(any_engine, *(common | one | {"worker": f"app.odd{n}"} for n, one in enumerate(times)))
    async with opened(any_engine) as browser:
        listed = await browser.page("/jobs")
        assert all(f"app.odd{n}" in listed for n in range(4))
        for id in made:
            await browser.page(f"/job/{id}")
        await execute(any_engine, "UPDATE oban_jobs SET state = 'scheduled'")
        assert 'class="trouble"' in await browser.page("/jobs?state=scheduled"), (
            "their order needs the times themselves"
        )


async def test_a_database_without_the_tables_is_told_what_makes_them_and_not_that_there_is_nothing(
    any_engine: AsyncEngine,
) -> None:
    nowhere = any_engine.execution_options(schema_translate_map={None: "nowhere"})
    async with opened(nowhere) as browser:
        for path in ("", "jobs", "flows", "failures", "crons", "nodes", "audit", "queues"):
            said = words((await browser.get(f"/{path}")).text)
            assert "does not exist; its tables are missing here" in said, said
            assert "run `oban-sqla migrate`" in said, said
            for nothing in ("There are no", "No job has", "is empty", "No node works", "No change has"):
                assert nothing not in said, said


async def test_a_server_that_refuses_connections_is_said_on_each_page(any_engine: AsyncEngine) -> None:
    refusing = create_async_engine(any_engine.url)

    @event.listens_for(refusing.sync_engine, "do_connect")
    def _refuse(*_: object) -> None:  # as asyncpg raises it, which SQLAlchemy 2.0 does not translate
        raise asyncpg.CannotConnectNowError("the database system is starting up")

    async with opened(refusing) as browser:
        for path in ("", "jobs", "job/1", "queues", "flows", "failures", "crons", "nodes", "audit", "system"):
            response = await browser.get(f"/{path}")
            assert response.status_code in (200, 503), path
            assert "The database says: CannotConnectNowError: the database system is starting up" in response.text, path
            assert response.headers.get("refresh") == (None if 'id="live"' in response.text else "5"), path
            assert ("It is asked again every 5 seconds" in response.text) is (response.status_code == 503), path
        sent = await browser.send("/do/queue", {"queue": "mail", "verb": "pause"})
        assert sent.status_code == 503
        assert "refresh" not in sent.headers, "what was sent is not sent again"
        assert "the database system is starting up" in sent.text


async def test_a_job_that_failed_leads_to_the_others_that_failed_like_it(
    browser: Browser, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("oban_sqla.web.pages.job"), "PATIENCE", None)
    page = await browser.page(f"/job/{ids[5]}")
    assert "2 others failed like this" in words(page)
    link = re.findall(r'href="\.\./(failures\?of=[^"]*)"', page)[0]
    assert "The newest of the 3" in words(await browser.page("/" + link.replace("&amp;", "&")))


async def test_a_list_without_jobs_says_how_the_first_one_is_made(browser: Browser) -> None:
    page = await browser.page("/jobs")
    assert "There are no jobs yet. An application enqueues one by session.add(worker.new(…))" in words(page)
    assert "all that match" not in page
    assert "No job was found." in words(await browser.page("/jobs?queue=none"))


async def test_failures_are_grouped_by_worker_and_error(browser: Browser, ids: list[int]) -> None:
    page = words(await browser.page("/failures"))
    assert "Kinds 1 of 3 failed jobs" in page
    assert "app.hook" in page


async def test_another_group_of_failures_is_chosen_by_its_link_and_found_by_its_state(engine: AsyncEngine) -> None:
    failed = {"attempt": 1, "error": "Traceback (most recent call last):\nValueError: part 7 of 9"}
    await insert(engine, *[failed | {"state": "retryable", "worker": "app.many"}] * 3)
    await insert(engine, failed | {"state": "discarded", "worker": "app.one", "error": "KeyError: <b>"})
    async with opened(engine) as browser:
        page = await browser.page("/failures")
        assert "The newest of the 3" in page
        link = re.search(r'href="\.?/?([^"]*of=app\.one[^"]*)"', page)
        assert link is not None
        page = await browser.page("/" + html.unescape(link[1]))
        assert "The newest of the 3" not in page
        assert "KeyError: &lt;b&gt;" in page
        assert "Delete all: app.one" in page
        assert "app.many" in page, "the others are still listed"
        assert "app.many" not in await browser.page("/failures?state=discarded")
        assert "app.one" not in await browser.page("/failures?worker=app.many")


async def test_the_overview_leads_to_the_group_of_failures_that_it_names(engine: AsyncEngine, browser: Browser) -> None:
    failed = {"state": "discarded", "attempt": 1, "worker": "app.w"}
    await insert(engine, *[failed | {"error": "KeyError: 'often'"}] * 6, *[failed | {"error": "OSError: seldom"}] * 5)
    links = re.findall(r'href="\./(failures[^"]*)" aria-label="See the (\d)', await browser.page("/"))
    assert [number for _, number in links] == ["6", "5"]
    for link, number in links:
        assert f"The newest of the {number}" in await browser.page(f"/{html.unescape(link)}")


async def test_an_error_of_which_the_list_reads_only_the_end_is_said_to_be_cut(engine: AsyncEngine) -> None:
    error = "Traceback (most recent call last):\nValueError: " + "long " * 100
    await insert(engine, {"state": "discarded", "worker": "app.w", "error": error})
    async with opened(engine) as browser:
        page = await browser.page("/failures")
    assert re.search(r'sub clip mono">…[long ]+<', page)
    assert '<p class="strong wrap">ValueError: long' in page


async def test_failures_say_what_their_jobs_have_in_common_and_what_the_newest_has_raised(engine: AsyncEngine) -> None:
    trace = "Traceback (most recent call last):\n  File app.py\nValueError: no <b>route</b> to 7"
    common = {"state": "discarded", "worker": "app.hook", "attempt": 3, "error": trace, "attempted_by": ["web-1", "u"]}
    await insert(engine, *(
        common | {"queue": "hooks", "args": {"tenant": "a&b" if n != 25 else "d", "n": n, "token": "secret"}}
        for n in range(30)
    ))  # fmt: skip
    await insert(engine, common | {"queue": "other", "args": {"tenant": "c"}, "error": "KeyError: 1"})

    def redact(job: Job) -> object:
        return {**job.args, "token": "…"}

    async with opened(engine, redact=redact) as browser:
        page = await browser.page("/failures")
        said = words(page)
        assert "What they have in common args.tenant &#34;a&amp;b&#34; in 19 of 20 node web-1 of the newest 20" in said
        assert "token" not in said
        assert "args.n" not in said
        assert "no &lt;b&gt;route&lt;/b&gt; to 7" in page
        alone = words(await browser.page("/failures?worker=app.hook&of=app.hook&like=KeyError: %23"))
        assert "Too few jobs to tell" in alone, "one job has everything in common"
        found = re.search(r'href="([^"]*args\.tenant=[^"]*)"', page)
        assert found is not None
        listed = await browser.page(html.unescape(found[1]).removeprefix("."))
        assert listed.count("ValueError: no") == 29
        assert "KeyError" not in listed


async def test_a_queue_shows_its_nodes_and_limits(engine: AsyncEngine, browser: Browser, ids: list[int]) -> None:
    async with Oban(engine, queues={"images": 3}, node="web-1"):
        page = words(await browser.page("/queue?name=images"))
        assert "web-1" in page
        assert "0 of 3" in page
        assert "web-1" in words(await browser.page("/nodes"))


async def test_the_queue_of_a_job_that_does_not_wait_has_a_page_without_nodes(
    engine: AsyncEngine, browser: Browser
) -> None:
    for state in ("completed", "scheduled"):
        [id] = await insert(engine, {"state": state, "worker": "app.report", "queue": f"{state} & alone"})
        [link] = set(re.findall(rf'href="([^"]*queue\?name={state}[^"]*)"', await browser.page(f"/job/{id}")))
        page = words(await browser.page("/" + html.unescape(link).removeprefix("../")))
        assert "nothing waits" in page
        assert "No node works this queue" in page


async def test_many_queues_nodes_and_crons_are_listed_in_pages(engine: AsyncEngine, browser: Browser) -> None:
    await insert(engine, *({"state": "available", "worker": "app.w", "queue": f"q{n:03}"} for n in range(120)))
    await insert(engine, *[{"state": "available", "worker": "app.w", "queue": "q119"}] * 3)
    producers = "INSERT INTO oban_producers (uuid, name, node, queue, meta) SELECT gen_random_uuid(), 'Oban',"
    await execute(engine, f"{producers} 'node-' || n, 'q000', '{{}}' FROM generate_series(100, 170) n")
    listed = re.compile(r'href="[^"]*queue\?name=(q\d+)"')
    first = await browser.page("/queues")
    assert len({*listed.findall(first)}) == 100
    link = re.search(r'href="\.?/?(queues\?after=q099)"', first)
    assert link is not None
    second = await browser.page(f"/{link[1]}")
    assert {*listed.findall(second)} == {f"q{n}" for n in range(100, 120)}
    assert ">More</a></span></footer>" not in second
    overview = await browser.page("/")
    assert "the 50 with most waiting" in overview
    assert "q119" in {*listed.findall(overview)}
    first = await browser.page("/nodes")
    assert first.count('aria-label="Node node-') == 50
    assert (await browser.page("/nodes?after=node-149")).count('aria-label="Node node-') == 21
    entries = "INSERT INTO oban_crons (name, expression, spec) SELECT 'entry-' || n, '@daily', '{\"worker\": \"w\"}'"
    await execute(engine, f"{entries} FROM generate_series(100, 212) n")
    names = re.compile(r'class="strong">(entry-\d+)<')
    first = await browser.page("/crons")
    assert names.findall(first) == [f"entry-{n}" for n in range(100, 200)]
    link = re.search(r'href="\.?/?(crons\?after=entry-199)"', first)
    assert link is not None
    second = await browser.page(f"/{link[1]}")
    assert names.findall(second) == [f"entry-{n}" for n in range(200, 213)]
    assert ">More</a></span></footer>" not in second


async def test_crons_are_shown_in_words(engine: AsyncEngine, browser: Browser) -> None:
    await Oban(engine).crons.put("nightly", "30 3 * * MON-FRI", JobSpec("app.report"))
    page = words(await browser.page("/crons"))
    assert "at 03:30, Monday to Friday" in page
    assert "nightly" in page


async def test_a_refresh_has_only_what_is_live_and_nothing_when_it_has_not_changed(
    browser: Browser, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    still = SimpleNamespace(monotonic=lambda: 0.0)  # however slow the machine is, the answers are shared
    monkeypatch.setattr("oban_sqla.web.instance.time", still)
    page = await browser.page("/failures")
    path = re.search(r'hx-get="\./([^"]*)"', page)
    assert path is not None
    again = await browser.get("/" + path[1].replace("&amp;", "&"), **{"hx-request": "true"})
    assert again.status_code == 204
    part = await browser.get("/failures", **{"hx-request": "true"})
    assert part.text.lstrip().startswith('<div id="live"')
    assert "<html" not in part.text


async def test_counts_are_exact_up_to_a_number_and_then_estimates_that_say_so(
    engine: AsyncEngine, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert glance.FAR == 10_000
    await insert(engine, *[{"state": "available", "worker": "w", "queue": "q"}] * 60)
    await insert(engine, {"state": "completed", "worker": "w"})
    assert ">60<" in await browser.page("/jobs")
    monkeypatch.setattr(glance, "FAR", 50)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("ANALYZE oban_jobs"))
    async with opened(engine) as other:
        page = await other.page("/jobs")
        assert ">≈ 60<" in page
        assert ">1<" in page
        assert "50+" in await other.page("/queues")


async def test_a_rate_of_which_the_count_was_cut_is_of_the_time_of_what_was_counted(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ago = "timezone('UTC', now()) - interval '1 s' * s"
    ended = f"INSERT INTO oban_jobs (worker, queue, state, completed_at) SELECT 'w', 'q' || s % 2, 'completed', {ago}"
    await execute(engine, f"{ended} FROM unnest(ARRAY[10, 13, 20, 50, 100]) s")
    for far, jobs, within in ((3, {"q0": 2, "q1": 1}, 20), (9, {"q0": 4, "q1": 1}, 300)):
        monkeypatch.setattr(glance, "FAR", far)
        async with engine.connect() as connection:
            rates = await connection.run_sync(glance.recent)
        assert rates == {queue: {"completed": pytest.approx(n / within, rel=0.1)} for queue, n in jobs.items()}


async def test_a_chart_shows_how_much_waited_and_has_its_table(engine: AsyncEngine, browser: Browser) -> None:
    assert "There are no charts yet" in words(await browser.page("/"))
    async with engine.begin() as connection:
        await connection.execute(text("""
            INSERT INTO oban_depths (step, at, queue, available, scheduled, retryable, executing, oldest)
            SELECT step, timezone('UTC', to_timestamp(floor(extract(epoch FROM now()) / step) * step))
                         - n * interval '1 minute', queue, 30 + n, 2, 1, 4, 75
            FROM generate_series(0, 9) n, unnest(ARRAY['mail', 'bulk']) queue, unnest(ARRAY[60, 600]) step
            WHERE step = 60 OR n = 0
        """))  # fmt: skip
    await insert(engine, {"state": "available", "worker": "w", "queue": "mail"})
    async with opened(engine) as other:
        for path, deepest in (("/", "78"), ("/queue?name=mail", "39"), ("/?period=day", "60")):
            page = await other.page(path)
            chart = re.search(r'aria-labelledby="plot-waiting".*?</section>', page, re.DOTALL)
            assert chart is not None, path
            assert '<rect class="available"' in chart[0]
            assert "As a table" in chart[0]
            assert f'<td class="num">{deepest}</td>' in chart[0]
            assert "Longest wait" in page
            assert "1 min 15 s" in words(page)
            assert "<span>10 min</span><span>1 min</span>" in page, "times on the scale are those that people say"


async def test_the_life_of_a_job_is_drawn_to_scale(engine: AsyncEngine, browser: Browser) -> None:
    [id] = await insert(engine, {"state": "discarded", "worker": "w", "attempt": 2, "attempted_by": ["web-1", "x"]})
    async with engine.begin() as connection:
        await connection.execute(text("""
            UPDATE oban_jobs SET inserted_at = '2026-01-01 10:00', scheduled_at = '2026-01-01 10:00',
              attempted_at = '2026-01-01 10:08', discarded_at = '2026-01-01 10:10',
              errors = '[{"attempt": 1, "at": "2026-01-01T10:05:00Z", "error": "a"},
                         {"attempt": 2, "at": "2026-01-01T10:10:00Z", "error": "b"}]'
        """))  # fmt: skip
    page = await browser.page(f"/job/{id}")
    marks = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="3" width="([\d.]+)"', page)
    assert ("discarded", "500.0", "6.0") in marks, "the first attempt failed in the middle"
    assert ("discarded", "800.0", "200.0") in marks, "the second one ran for the last fifth"
    assert all(float(x) + float(width) <= 1_000 for _, x, width in marks)
    said = words(page)
    assert "attempt 1 failed after 5 min" in said
    assert "attempt 2 started on web-1 after 8 min" in said
    await execute(engine, "UPDATE oban_jobs SET state = 'retryable', discarded_at = NULL, scheduled_at = '2099-01-01'")
    async with opened(engine) as other:
        assert "<title>attempt 2, 2 min</title>" in await other.page(f"/job/{id}"), "until it failed"


@pytest.mark.parametrize(
    ("state", "says", "drawn"),
    [
        ("scheduled", "last started on web-1 after 2 min", "<title>last started</title>"),
        ("cancelled", "last started on web-1 after 2 min", "<title>last started</title>"),
        ("executing", "attempt 2 started on web-1 after 2 min", "<title>attempt 2, "),
    ],
)
async def test_a_run_that_slept_has_no_number_in_the_life_of_a_job(
    engine: AsyncEngine, browser: Browser, state: str, says: str, drawn: str
) -> None:
    attempt = 2 if state == "executing" else 1
    [id] = await insert(engine, {"state": state, "worker": "w", "attempt": attempt, "attempted_by": ["web-1", "x"]})
    async with engine.begin() as connection:
        await connection.execute(text("""
            UPDATE oban_jobs SET inserted_at = timezone('UTC', now()) - interval '3 minutes',
              scheduled_at = timezone('UTC', now()) + interval '1 hour',
              attempted_at = timezone('UTC', now()) - interval '1 minute',
              errors = jsonb_build_array(
                jsonb_build_object('attempt', 1, 'error', 'a', 'at', now() - interval '2 minutes'))
        """))  # fmt: skip
    page = await browser.page(f"/job/{id}")
    assert says in words(page)
    assert drawn in page


async def test_several_instances_are_chosen_by_the_url(engine: AsyncEngine) -> None:
    async with opened([Oban(engine, name="one"), Oban(engine, name="two")]) as browser:
        assert 'href="./jobs?instance=one"' in await browser.page("/")
        assert 'href="./jobs?instance=two"' in await browser.page("/?instance=two")
        assert (await browser.get("/?instance=three")).status_code == 404
