"""Groups of commands whose default command is ``list``."""

from __future__ import annotations

import click


class ListByDefault(click.Group):
    """A group that runs ``list`` without a command: ``oban-sqla queues --json`` is ``oban-sqla queues list --json``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["list", *args]
        return super().parse_args(ctx, args)
