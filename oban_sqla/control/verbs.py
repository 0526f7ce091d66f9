"""What the base classes of :class:`Oban` share: each has the verbs for one noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.config import Config
from .engines import Engines
from .lifecycle import Lifecycle

if TYPE_CHECKING:
    from ..runtime.node import Node


class Verbs:
    """The options of an :class:`Oban`, its engine on the loop that asks, and its node while that runs.

    `Oban` writes these before anything is asked of it.
    """

    config: Config
    _engines: Engines
    _life: Lifecycle

    @property
    def _node(self) -> Node | None:
        return self._life.node
