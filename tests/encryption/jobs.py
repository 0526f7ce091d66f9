"""Workers with encrypted arguments, in a module that child processes can import."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import Cancel, Discard, Job, JobSpec, Record, Snooze, current_job, emit, enqueue, job
from oban_sqla.durable import step, wait_for

CANARY = "4111-1111-CANARY"
"""Stands in no table and no log."""

seen: list[tuple[str, Any]] = []
"""What jobs in this process were given: the card, and the args of their row."""


@job(name="encryption.charge", queue="secrets", encrypted=True, recorded=True)
async def charge(card: str, outcome: str = "value") -> str:
    seen.append((card, current_job().args))
    return _act(card, outcome)


@job(name="encryption.charge_in_thread", queue="secrets", encrypted=True)
def charge_in_thread(card: str, outcome: str = "value") -> object:
    seen.append((card, current_job().args))
    return Record(_act(card, outcome))


@job(name="encryption.charge_elsewhere", queue="secrets_elsewhere", encrypted=True, executor="process", recorded=True)
def charge_elsewhere(card: str, outcome: str = "value") -> Any:
    return [_act(card, outcome), current_job().args]


@job(name="encryption.charge_in_session", queue="secrets", encrypted=True, recorded=True)
async def charge_in_session(session: AsyncSession, card: str, outcome: str = "value") -> str:
    await enqueue(session, JobSpec("encryption.charge", {"card": card}, schedule_in=3600))
    return _act(card, outcome)


@job(name="encryption.plain", queue="secrets", recorded=True)
async def plain(job: Job, encrypted: str = "") -> str:
    return encrypted


def _act(card: str, outcome: str) -> str:
    match outcome:
        case "error":
            try:
                raise KeyError(f"inner {card}")
            except KeyError:
                raise ValueError(f"bad card {card}") from None
        case "cause":
            try:
                raise KeyError(f"inner {card}")
            except KeyError as error:
                problem = RuntimeError(f"outer {card}")
                problem.add_note(f"note {card}")
                raise problem from error
        case "cancel":
            raise Cancel(f"no {card}")
        case "discard":
            raise Discard(f"never {card}")
        case "snooze":
            raise Snooze(3600)
        case "log":
            logging.getLogger("app").info("charged a card")
        case _:
            pass
    return f"charged {card}"


@job(name="encryption.approve", queue="secrets", encrypted=True, recorded=True)
async def approve(card: str) -> list[str]:
    charged = await step("charge", _charged, card)
    await step("note", _noted, card)
    await emit({"card": card})
    said = await wait_for("approved", live=0.0)
    return [charged, said]


async def _noted(session: AsyncSession, card: str) -> str:
    return f"noted {card}"


async def _charged(card: str) -> str:
    logging.getLogger("app").info("charged a card")
    return f"charged {card}"
