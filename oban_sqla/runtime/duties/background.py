"""The duties of which nothing else in a node takes notice: they are woken by an election, and by time."""

from __future__ import annotations

from collections.abc import Callable

from ..config import Config
from ..connections import Connections
from ..refusals import Refusals
from .duty import Duty
from .keeper import Keeper
from .leader import Leadership
from .lookout import Lookout
from .orphans import Orphans
from .prioritizer import Prioritizer
from .pruner import Pruner
from .recorder import Recorder
from .sweeper import Sweeper


def background_duties(
    config: Config,
    at: Connections,
    leadership: Leadership,
    *,
    available: Callable[[set[str]], None],
    news: Callable[[], None],
    refusals: Refusals,
) -> list[Duty]:
    """Make the background duties of a node.

    :param config: its options.
    :param at: its connections.
    :param leadership: whether it leads.
    :param available: called with the queues in which jobs are available now.
    :param news: called when there may be news.
    :param refusals: the jobs that the database refuses to change.
    """
    duties: list[Duty] = [
        Keeper(lane=at.leading, leadership=leadership, available=available, refusals=refusals),
        Lookout(lane=at.upkeep, leadership=leadership),
        Sweeper(lane=at.leading, leadership=leadership, news=news),
        Orphans(lane=at.leading, leadership=leadership),
        Recorder(lane=at.leading, leadership=leadership, depths=config.metrics),
    ]
    if config.prioritize is not None:
        duties.append(
            Prioritizer(
                lane=at.leading,
                leadership=leadership,
                prioritize=config.prioritize,
                available=available,
                refusals=refusals,
            )
        )
    if config.prune is not None:
        duties.append(Pruner(lane=at.pruning, leadership=leadership, prune=config.prune, refusals=refusals))
    return duties
