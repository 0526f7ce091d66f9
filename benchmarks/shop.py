"""An invented shop, as its dashboard sees it in the middle of a busy day: for screenshots, and for looking around."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.setting import Setting
from oban_sqla import JobSpec, Oban, Workflow, job
from oban_sqla.options.schedule import schedule
from oban_sqla.runtime.measures import bucket

QUEUES = {"billing": 4, "bulk": 8, "default": 20, "mail": 20, "media": 6, "reports": 2, "search": 10, "webhooks": 12}
"""Queues, and how many jobs of each run at once on a node."""
NODES = ("web-1", "web-2", "web-3", "worker-1", "worker-2", "worker-3")
WORKERS = {
    "billing": "shop.billing.charge", "bulk": "shop.prices.import_row", "default": "shop.cache.refresh",
    "mail": "shop.mail.send_message", "media": "shop.media.thumbnail", "reports": "shop.reports.build",
    "search": "shop.search.index_document", "webhooks": "shop.webhooks.deliver",
}  # fmt: skip
STATES = {
    "completed": 2_600, "available": 1_460, "scheduled": 420, "retryable": 96, "discarded": 64, "cancelled": 41,
    "suspended": 12,
}  # fmt: skip
TRACE = """Traceback (most recent call last):
  File "/srv/shop/webhooks.py", line 41, in deliver
    response.raise_for_status()
  File "/srv/venv/lib/python3.13/site-packages/httpx/_models.py", line 829, in raise_for_status
    raise HTTPStatusError(message, request=request, response=self)
{error}"""
ERRORS = {
    "webhooks": "httpx.HTTPStatusError: Server error '502 Bad Gateway' for url 'https://hooks.example.net/t/{n}'",
    "billing": "shop.billing.CardDeclined: insufficient funds, customer {n}",
    "media": "PIL.UnidentifiedImageError: cannot identify image file '/files/{n}.png'",
    "reports": "TimeoutError: shop.reports.build ran longer than 60 s",
}


def args_of(queue: str, random: Random) -> dict[str, Any]:
    """What a job of the queue is given."""
    n = random.randint(1, 99_999)
    every: dict[str, dict[str, Any]] = {
        "billing": {"order_id": n, "amount": "49.90", "currency": "EUR"},
        "bulk": {"file": "prices-2026-11.csv", "row": n, "tenant_id": f"t{n % 40}"},
        "default": {"key": "front-page", "locale": random.choice(["en_GB", "de_DE", "fr_FR"])},
        "mail": {"template": random.choice(["welcome", "receipt", "trial_ends"]), "user_id": n},
        "media": {"path": f"/files/{n:05x}.png", "sizes": [64, 256, 1024]},
        "reports": {"month": "2026-10", "format": "pdf"},
        "search": {"document": f"product/{n}", "version": n % 30},
        "webhooks": {"endpoint_id": n % 900, "event": "order.paid", "order_id": n},
    }
    return every[queue]


def row_of(number: int, state: str, now: datetime, random: Random) -> tuple[Any, ...]:
    """A job in a state: the values of :data:`COLUMNS`."""
    failed = state in ("retryable", "discarded")
    weights = {"bulk": 30, "webhooks": 6, "mail": 3}
    names = list(ERRORS if failed else QUEUES)
    chances = [{"webhooks": 60, "billing": 2}.get(name, 1) if failed else weights.get(name, 4) for name in names]
    queue = "bulk" if state == "available" and number % 14 else random.choices(names, chances)[0]
    ago = timedelta(seconds=random.expovariate(1 / 900))
    if state == "available":
        ago = timedelta(seconds=random.uniform(30, 2_280) if queue == "bulk" else random.uniform(0, 3))
    at = now - ago
    most = 5 if queue == "webhooks" else 20
    attempt = most if state == "discarded" else random.randint(1, 3) if failed else 1 if state == "completed" else 0
    errors = [
        {"attempt": one + 1, "at": f"{at - timedelta(seconds=40 * (attempt - one - 1)):%Y-%m-%dT%H:%M:%S.%fZ}",
         "error": TRACE.format(error=ERRORS[queue].format(n=random.randint(1, 900)))}
        for one in range(attempt)
    ] if failed else []  # fmt: skip
    began = at - timedelta(seconds=min(random.lognormvariate(-2, 1.4), 60))
    due = now + timedelta(seconds=random.uniform(5, 90_000)) if state in ("scheduled", "retryable") else began
    tags = [f"tenant-{number % 40}"] if queue in ("bulk", "search") else ["trial"] if number % 9 == 0 else []
    return (
        state, queue, WORKERS[queue], attempt, most, random.choice([0, 0, 0, 1]), json.dumps(args_of(queue, random)),
        json.dumps({"return": {"sent": True}} if queue == "mail" and state == "completed" else {}), tags,
        json.dumps(errors), [random.choice(NODES), "x"] if attempt else [],
        (began - timedelta(seconds=random.uniform(0.01, 2) + 40 * max(attempt - 1, 0))).replace(tzinfo=None),
        due.replace(tzinfo=None), began.replace(tzinfo=None) if attempt else None,
        *(at.replace(tzinfo=None) if state == name else None for name in ("completed", "discarded", "cancelled")),
    )  # fmt: skip


COLUMNS = (
    "state", "queue", "worker", "attempt", "max_attempts", "priority", "args", "meta", "tags", "errors",
    "attempted_by", "inserted_at", "scheduled_at", "attempted_at", "completed_at", "discarded_at", "cancelled_at",
)  # fmt: skip


async def insert_jobs(raw: asyncpg.Connection[asyncpg.Record], now: datetime, random: Random) -> None:
    """Jobs in all states but one."""
    rows = [row_of(number, state, now, random) for state, many in STATES.items() for number in range(many)]
    random.shuffle(rows)
    values = ", ".join(f"${number + 1}" + ("::oban_job_state" if number == 0 else "") for number in range(len(COLUMNS)))
    await raw.executemany(f"INSERT INTO oban_jobs ({', '.join(COLUMNS)}) VALUES ({values})", rows)


async def insert_nodes(raw: asyncpg.Connection[asyncpg.Record], random: Random) -> None:
    """Nodes that beat for a long time to come, their leader, and what they run."""
    for number, node in enumerate(NODES):
        for queue, limit in QUEUES.items():
            if node.startswith("web") and queue in ("bulk", "media", "reports"):
                continue
            paused = queue == "reports" or (queue == "media" and node == "worker-3")
            meta: dict[str, Any] = {"local_limit": limit, "paused": paused, "stale_after": 86_400.0, "running": []}
            if queue == "webhooks":
                meta["rate_limit"] = {"allowed": 600, "period": 60.0}
            uuid = UUID(int=random.getrandbits(128))
            await raw.execute(
                "INSERT INTO oban_producers (uuid, name, node, queue, meta, started_at, updated_at) VALUES"
                " ($1, 'shop', $2, $3, $4, timezone('UTC', now()) - $5 * interval '1 hour', timezone('UTC', now()))",
                uuid, node, queue, json.dumps(meta), 9 * (number + 1),
            )  # fmt: skip
            busy = 0 if paused else limit if queue in ("bulk", "webhooks") else random.randint(0, limit // 2)
            for _ in range(busy):
                await raw.execute(
                    "INSERT INTO oban_jobs (state, queue, worker, attempt, args, attempted_by, inserted_at,"
                    " scheduled_at, attempted_at) SELECT 'executing', $1, $2, 1, $3, $4, due, due, due + interval"
                    " '30 ms' FROM (SELECT timezone('UTC', now()) - $5 * interval '1 second' AS due) began",
                    queue, WORKERS[queue], json.dumps(args_of(queue, random)), [node, str(uuid)],
                    random.uniform(0.1, 20),
                )  # fmt: skip
    await raw.execute(
        "INSERT INTO oban_leaders (name, node, elected_at, expires_at) VALUES ('oban_sqla:shop', 'worker-1/1',"
        " timezone('UTC', now()), timezone('UTC', now()) + interval '1 hour')"
    )


async def insert_series(raw: asyncpg.Connection[asyncpg.Record], now: datetime, random: Random) -> None:
    """What ended and waited within the last hour and day."""
    rates = {"bulk": 48, "mail": 26, "webhooks": 17, "default": 29, "search": 14, "media": 6, "billing": 4}
    for step, count in ((60, 61), (600, 145)):
        start = now.timestamp() // step * step
        for back in range(count):
            at = datetime.fromtimestamp(start - back * step, UTC).replace(tzinfo=None)
            wave = math.sin((start - back * step) / (2_400 if step == 60 else 13_000))
            bad = math.exp(-(((back - 24) / 7) ** 2)) if step == 60 else 0.2
            for queue, rate in rates.items():
                done = round(rate * step / 60 * (1 + 0.12 * wave + random.uniform(-0.06, 0.06)))
                again = round(done * (0.5 * bad + 0.02)) if queue == "webhooks" else 0
                dead = round(again * 0.12)
                runs: dict[int, int] = {}
                for _ in range(60):
                    one = bucket(random.lognormvariate(-2.6, 1.5) * (1 + 3 * bad))
                    runs[one] = runs.get(one, 0) + done // 60 + 1
                waits = {bucket(0.004): done, bucket(0.03): done // 20 + 1}
                await raw.execute(
                    "INSERT INTO oban_metrics (step, at, queue, origin, node, completed, retryable, discarded, busy,"
                    " run_at, run_n, wait_at, wait_n)"
                    " VALUES ($1, $2, $3, $4, 'worker-1', $5, $6, $7, 1, $8, $9, $10, $11)",
                    step, at, queue, UUID(int=1), max(done - again - dead, 0), again, dead, list(runs),
                    list(runs.values()), list(waits), list(waits.values()),
                )  # fmt: skip
            # The import began 38 minutes ago, and is worked off since.
            deep = max(0, 4_000 - 58 * (38 - back)) if step == 60 and back <= 38 else 0
            for queue in QUEUES:
                waits_now = deep if queue == "bulk" else max(0, round(14 * (1 + wave) + random.uniform(-6, 6)))
                await raw.execute(
                    "INSERT INTO oban_depths (step, at, queue, available, scheduled, retryable, executing, oldest)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    step, at, queue, waits_now, 52, round(90 * bad) if queue == "webhooks" else 0, QUEUES[queue],
                    60.0 * (38 - back) if deep else 0.4 if waits_now else None,
                )  # fmt: skip


@job(queue="default")
async def shop_step(order: int) -> None: ...


async def add_flows(place: Setting) -> int:
    """Workflows, one of them half done. Returns its id."""
    flows: list[int] = []
    for number in range(6):
        flow = Workflow("new customer" if number % 3 == 1 else f"order {70_206 + number}")
        load = flow.add(shop_step.new(number), name="load_order")
        pay = flow.add(shop_step.new(number), name="charge", after=[load])
        stock = flow.add(shop_step.new(number), name="reserve_stock", after=[load])
        pages = [flow.add(shop_step.new(number), name=f"render_{page}", after=[pay]) for page in range(1, 5)]
        pack = flow.add(shop_step.new(number), name="pack", after=[stock, *pages])
        mail = flow.add(shop_step.new(number), name="send_receipt", after=[pay])
        flow.add(shop_step.new(number), name="archive", after=[pack, mail])
        async with AsyncSession(place.engine) as session, session.begin():
            session.add(flow)
        assert flow.id is not None
        flows.append(flow.id)
    for number, flow_id in enumerate(flows):
        half = number == len(flows) - 1
        ago = 252 + 400 * (len(flows) - 1 - number)
        names = "SELECT id, node_name FROM oban_jobs WHERE workflow_id = $1 ORDER BY id"
        for row in await place.raw.fetch(names, flow_id):
            state = _state_in_flow(row["node_name"], half)
            after, took = STEPS[row["node_name"]]
            began = timedelta(seconds=ago - after)
            await place.raw.execute(
                """
                UPDATE oban_jobs SET state = $2::oban_job_state, worker = 'shop.orders.' || $3,
                       inserted_at = timezone('UTC', now()) - $4::interval, attempt = $5::int,
                       attempted_at = CASE WHEN $5 > 0 THEN timezone('UTC', now()) - $6::interval END,
                       attempted_by = CASE WHEN $5 > 0 THEN ARRAY['worker-2', 'x'] ELSE '{}' END,
                       completed_at = CASE WHEN $2 = 'completed' THEN timezone('UTC', now()) - $7::interval END,
                       scheduled_at = CASE WHEN $2 = 'retryable' THEN timezone('UTC', now()) + interval '41 seconds'
                                           WHEN $5 > 0 THEN timezone('UTC', now()) - $6::interval
                                           ELSE timezone('UTC', now()) - $4::interval END
                 WHERE id = $1
                """,
                row["id"], state, row["node_name"].partition("_")[0], timedelta(seconds=ago),
                {"suspended": 0, "retryable": 3}.get(state, 1), began, began - timedelta(seconds=took),
            )  # fmt: skip
        await place.raw.execute(
            """
            UPDATE oban_workflows SET state = $2, inserted_at = timezone('UTC', now()) - $3::interval,
                   finished_at = CASE WHEN $2 = 'completed' THEN timezone('UTC', now()) - $4::interval END
             WHERE id = $1
            """,
            flow_id, "executing" if half else "completed", timedelta(seconds=ago), timedelta(seconds=ago - 255),
        )  # fmt: skip
    return flows[-1]


STEPS = {
    "load_order": (0.0, 0.1), "charge": (0.2, 1.4), "reserve_stock": (0.2, 0.3), "render_1": (2.0, 2.1),
    "render_2": (2.0, 1.8), "render_3": (248.0, 4.2), "render_4": (210.0, 1.0), "send_receipt": (249.0, 3.1),
    "pack": (253.0, 0.9), "archive": (254.0, 0.2),
}  # fmt: skip
"""When each step begins, in seconds after the workflow was added, and how long it takes."""


def _state_in_flow(name: str, half: bool) -> str:
    if not half or name in ("load_order", "charge", "reserve_stock", "render_1", "render_2"):
        return "completed"
    return {"render_3": "executing", "send_receipt": "executing", "render_4": "retryable"}.get(name, "suspended")


ZONE = "Europe/Berlin"
RUNS = 8
"""Of each entry of the crontab."""


def last_ticks(expression: str, now: datetime) -> list[datetime]:
    """The last :data:`RUNS` times at which an entry was due, without a time zone."""
    times = schedule(expression, ZONE)
    ticks: list[datetime] = []
    for days in (1, 14, 70, 300):
        ticks.clear()
        tick = times.next(now - timedelta(days=days))
        while tick is not None and tick <= now:
            ticks.append(tick.replace(tzinfo=None))
            tick = times.next(tick)
        if len(ticks) >= RUNS:
            break
    return ticks[-RUNS:]


async def add_crons(place: Setting, now: datetime) -> None:
    """Entries of the crontab, and their last runs."""
    crons = Oban(place.engine, name="shop").crons
    entries = {"digest": "30 7 * * MON-FRI", "invoices": "0 3 1 * *", "prices": "*/15 * * * *", "vacuum": "0 4 * * SUN"}
    for name, expression in entries.items():
        await crons.put(name, expression, JobSpec(f"shop.cron.{name}"), timezone=ZONE)
        ticks = last_ticks(expression, now)
        for run, tick in enumerate(ticks):
            state = "discarded" if name == "digest" and run == 5 else "completed"
            await place.raw.execute(
                "INSERT INTO oban_jobs (state, worker, attempt, max_attempts, meta, inserted_at, scheduled_at,"
                " attempted_at, completed_at, discarded_at) SELECT $1::oban_job_state, $2, 1, 1,"
                " jsonb_build_object('cron', true, 'cron_name', $3::text), due, due, due,"
                " CASE WHEN $1 = 'completed' THEN ended END, CASE WHEN $1 = 'discarded' THEN ended END"
                " FROM (SELECT $4::timestamp AS due, $4::timestamp + interval '1.2 seconds' AS ended) ran",
                state, f"shop.cron.{name}", name, tick,
            )  # fmt: skip
        told = "UPDATE oban_crons SET since = $2, last_tick = $3 WHERE name = $1"
        await place.raw.execute(told, name, ticks[0], ticks[-1])
    await crons.pause("vacuum")


async def fill(place: Setting) -> int:
    """Fill an empty database. Returns the id of a workflow that is under way."""
    await place.raw.execute(
        "TRUNCATE oban_jobs, oban_producers, oban_leaders, oban_metrics, oban_depths, oban_audit, oban_queues, "
        "oban_crons, oban_workflows CASCADE"
    )
    random, now = Random(7), datetime.now(UTC)
    await insert_nodes(place.raw, random)
    await insert_jobs(place.raw, now, random)
    await insert_series(place.raw, now, random)
    await add_crons(place, now)
    flow = await add_flows(place)
    await place.raw.execute(
        "INSERT INTO oban_queues (name, queue, paused) VALUES ('shop', 'reports', true);"
        "INSERT INTO oban_audit (at, who, via, verb, target, jobs, reason) VALUES"
        " (timezone('UTC', now()) - interval '2 hours', 'ben@shop', 'cli', 'retry',"
        '  \'{"filter": {"states": ["discarded"], "queue": "mail"}}\', 212, \'the provider is back\'),'
        " (timezone('UTC', now()) - interval '31 minutes', 'anna@shop', 'web', 'queue.pause',"
        '  \'{"queue": "reports", "node": null}\', NULL, \'price list is wrong\'),'
        " (timezone('UTC', now()) - interval '4 minutes', 'anna@shop', 'web', 'cancel', '{\"ids\": [17]}', 1, NULL)"
    )
    await place.raw.execute("VACUUM ANALYZE")
    return flow
