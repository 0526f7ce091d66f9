"""``oban-sqla jobs signal``: send a signal to a job that waits for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...control.audit import audited, operator
from ...oban import Oban
from ..database import database_option, on_database, schema_option
from ..ids import JobId
from ..json_values import Json
from ..output import json_option, print_json


def payload_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator that adds the payload of a signal, as an argument or as the option ``--payload``."""

    @click.argument("given", type=Json(), required=False, metavar="[PAYLOAD]")
    @click.option("--payload", type=Json(), help="What the job gets, as JSON; the same as PAYLOAD. Default: null.")
    @wraps(command)
    def with_payload(*args: Any, given: Any, payload: Any, **options: Any) -> Any:
        if given is not None and payload is not None:
            raise click.UsageError("the payload was given twice, as PAYLOAD and as --payload")
        return command(*args, payload=payload if given is None else given, **options)

    return with_payload


@click.command(short_help="Send a signal to a job.")
@click.argument("id", type=JobId())
@click.argument("name")
@payload_options
@database_option
@schema_option
@json_option
def signal(id: int, name: str, payload: Any, url: str | None, schema: str | None, as_json: bool) -> None:
    """Send the signal NAME to the job ID, which takes it by wait_for.

    \b
      oban-sqla jobs signal 1234 approved
      oban-sqla jobs signal 1234 approved '{"by": "ann"}'

    A signal is kept until the job asks for it. The exit code is 1 when the job has finished or does
    not exist.
    """

    sent = on_database(url, schema, lambda engine: send_audited(engine, id, name, payload))
    if as_json:
        print_json({"id": id, "name": name, "sent": sent})
    elif sent:
        click.echo(f"the signal {name!r} is sent to job {id}")
    if not sent:
        raise click.ClickException(f"job {id} has finished or does not exist; nothing was sent")


async def send_audited(engine: AsyncEngine, id: int, name: str, payload: Any) -> bool:
    """Send a signal, with a row in the audit.

    :returns: whether it was sent; False when the job has finished or does not exist.
    """
    with audited(operator(), "signal", {"ids": [id], "signal": name}):
        async with AsyncSession(engine) as session, session.begin():
            return await Oban(engine).signal(id, name, payload, session)
