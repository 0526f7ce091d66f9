"""Who may do what: what `authorize` answers, and what follows from it."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request

from ..errors import InvalidOption, misfit
from ..telemetry import node_logger as logger
from ..telemetry.log_error import log_error

VERBS = ("read", "retry", "cancel", "delete", "edit", "enqueue", "queues", "crons", "flows")
"""What an operator may be allowed to do. Each of them includes ``read``."""


class Access(enum.Enum):
    """How much an operator may do."""

    NONE = frozenset[str]()
    """Nothing: the dashboard is refused."""
    READ = frozenset({"read"})
    """Look at everything, and change nothing."""
    ALL = frozenset(VERBS)
    """Look at everything, and change everything."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who uses the dashboard.

    :param name: as the audit shows it.
    :param access: an :class:`Access`, or a set of verbs: ``read``, ``retry``, ``cancel``, ``delete``, ``edit``,
        ``enqueue``, ``queues``, ``crons`` and ``flows``. Default: :attr:`Access.READ`.
    :raises InvalidOption: for a blank name, and for a verb that there is not.
    """

    name: str
    access: Access | Iterable[str] = Access.READ

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidOption(f"Operator: name must be text, got {self.name!r}")
        verbs_of(self.access)

    @property
    def verbs(self) -> frozenset[str]:
        """What this person may do."""
        return verbs_of(self.access)

    def may(self, verb: str) -> bool:
        """Whether this person may do something.

        :param verb: one of the verbs.
        :returns: whether it is allowed.
        """
        return verb in self.verbs


Answer = Access | Operator | Iterable[str] | None
Authorize = Access | Callable[[Request], Answer | Awaitable[Answer]]
"""What ``dashboard(authorize=…)`` takes."""


def verbs_of(access: object) -> frozenset[str]:
    """The verbs of an :class:`Access`, or of a set of verbs.

    :raises InvalidOption: for anything else, and for a verb that there is not.
    """
    if isinstance(access, Access):
        return access.value
    if isinstance(access, str | Mapping) or not isinstance(access, Iterable):  # a mapping may say False of a verb
        raise InvalidOption(f"access: expected an Access or a set of verbs, got {access!r}")
    given = frozenset(cast(Iterable[object], access))
    if unknown := sorted(repr(verb) for verb in given if verb not in VERBS):
        raise InvalidOption(f"access: expected verbs of {', '.join(VERBS)}; got {', '.join(unknown)}")
    verbs = cast("frozenset[str]", given)
    return verbs | {"read"} if verbs else verbs


def checked(authorize: object) -> Authorize | None:
    """`authorize`, if the dashboard can ask it.

    :raises InvalidOption: for what is neither an Access nor a function of one argument.
    """
    if callable(authorize) and (why := misfit(authorize, "request")) is not None:
        raise InvalidOption(
            f"dashboard: authorize is called with the request, and {authorize!r} does not fit that: {why}"
        )
    if authorize is None or isinstance(authorize, Access) or callable(authorize):
        return cast("Authorize | None", authorize)
    raise InvalidOption(
        "dashboard: authorize must be an Access, or a function of the request that returns an Access, an Operator or "
        f"a set of verbs; got {authorize!r}"
    )


async def operator_of(request: Request, authorize: Authorize | None) -> Operator | None:
    """Who asks; None for a request that is refused. What `authorize` raises refuses it, and is logged."""
    if authorize is None:
        return None
    try:
        answer: Any = authorize if isinstance(authorize, Access) else authorize(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is None or answer is False:
            return None
        operator: Operator | None
        if isinstance(answer, Operator):
            operator = answer
        else:
            verbs = verbs_of(answer)
            operator = Operator(_name(request), verbs) if verbs else None
    except Exception as error:
        log_error(logger, error, "dashboard: authorize failed, so the request is refused")
        return None
    return operator if operator is not None and operator.may("read") else None


def _name(request: Request) -> str:
    user: object = request.scope.get("user")
    name = getattr(user, "display_name", None)
    if isinstance(name, str) and name.strip():
        return name
    return "unknown" if request.client is None else request.client.host
