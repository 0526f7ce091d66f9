"""What jobs can ask for beside their arguments: clients, caches, and other objects that a runtime makes for them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, cast

from sqlalchemy import inspect as mapping_of
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..errors import InvalidOption, misfit
from ..types import ByAnnotation
from .spelling import spelled

Scope = Literal["runtime", "job"]


@spelled
@dataclass(frozen=True, slots=True)
class Resource:
    """How an object is made for the jobs that ask for it: ``Oban(…, resources={Cache: Resource(make, scope="job")})``.

    :param factory: a function or class that is called without arguments, or a coroutine function. What a generator
        function, or one with ``@contextmanager`` or ``@asynccontextmanager``, yields is the object; the rest of it runs
        when the object is no longer needed. Any other object is used as it is, and is not closed.
    :param scope: ``"runtime"``: one object, made when the runtime starts or when a job first needs it, and closed when
        the runtime stops. ``"job"``: one per run of a job, made before the job's session is opened and closed after the
        session's commit. Default ``"runtime"``.
    :raises InvalidOption: for a factory that can't be called without arguments, or another scope.
    """

    factory: Callable[[], Any]
    scope: Scope = "runtime"

    def __post_init__(self) -> None:
        if self.scope not in ("runtime", "job"):
            raise InvalidOption(f'Resource: scope must be "runtime" or "job", got {self.scope!r}')
        _check_factory(self.factory, "Resource")


def checked_resources(given: object, what: str = "Oban") -> Mapping[Any, Resource]:
    """What a user gave as ``resources=``, each as a :class:`Resource`.

    :param what: takes them, for messages.
    :raises InvalidOption: for a type that can't be provided, or what can't make one.
    """
    made: dict[Any, Resource] = {}
    for kind, value in checked_kinds(given, what).items():
        if not isinstance(value, Resource):
            _check_factory(value, f"{what}: resources[{described(kind)}]")
            value = Resource(cast(Callable[[], Any], value))
        made[kind] = value
    return made


def checked_kinds(given: object, what: str, with_runtime: bool = False) -> Mapping[Any, object]:
    """`given`, by types that a program may provide.

    :param what: takes it, for messages.
    :param with_runtime: whether the runtime itself may be among them.
    :raises InvalidOption: for anything but a mapping, and for types that a runtime always provides.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(f"{what}: resources must be a mapping such as {{Client: make_client}}, got {given!r}")
    kinds = cast(Mapping[Any, object], given)
    for kind in kinds:
        if with_runtime and is_by_annotation(kind):
            continue
        if (reason := not_provided(plain(kind))) is not None:
            raise InvalidOption(f"{what}: resources[{described(kind)}]: {reason}")
    return kinds


def found(kind: object, among: Mapping[Any, Any]) -> Any:
    """What `among` has for `kind`, which may be an annotation that has no hash; None if it has nothing."""
    try:
        return among.get(kind)
    except TypeError:
        return next((value for key, value in among.items() if key == kind), None)


def near(kind: object, among: Iterable[object]) -> list[object]:
    """Those of `among` that may have been meant by `kind`: related classes, and others of a similar name."""
    import difflib  # only when something is wrong

    name = _short(kind)
    some = [one for one in among if _are_related(plain(kind), plain(one))]
    alike = difflib.get_close_matches(name.lower(), [_short(one).lower() for one in among], n=3)
    return [*some, *(one for one in among if one not in some and _short(one).lower() in alike)]


def described(kind: object) -> str:
    """`kind` as a program writes it."""
    return inspect.formatannotation(kind)


DEEPEST = 50
"""How many names of a type are followed: `type X = X | None` has no end."""


def plain(hint: Any) -> Any:
    """The class in ``Annotated[X, …]``, in ``X | None``, and behind ``type Name = X``."""
    for _ in range(DEEPEST):
        if typing.get_origin(hint) is typing.Annotated:
            inner = typing.get_args(hint)[0]
        elif is_alias(hint):
            inner = meaning(hint)
        else:
            inner = without_none(hint)
        if inner is hint:
            break
        hint = inner
    return hint


def is_alias(hint: Any) -> bool:
    """Whether it is the name of a ``type Name = …``, or of a ``type Name[T] = …`` with its parameters."""
    # By name, because typing_extensions has a class of its own.
    return type(typing.get_origin(hint) or hint).__name__ == "TypeAliasType"


def meaning(alias: Any) -> Any:
    """What a ``type Name = …`` stands for, with its parameters filled in.

    :raises NameError: where it names what is not known yet.
    """
    of: Any = typing.get_origin(alias) or alias
    value: Any = of.__value__
    names, given = of.__type_params__, typing.get_args(alias)
    open_: tuple[Any, ...] = getattr(value, "__parameters__", ())
    if not open_ or len(names) != len(given):
        return value
    filled = dict(zip(names, given, strict=True))
    return value[tuple(filled.get(name, name) for name in open_)]


def without_none(hint: Any) -> Any:
    """The type in ``X | None``."""
    some = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return some[0] if is_union and len(some) == 1 else hint


def is_by_annotation(kind: object) -> TypeGuard[type[ByAnnotation]]:
    """Whether the runtime fills in a parameter of this type without a mark."""
    return isinstance(kind, type) and issubclass(kind, ByAnnotation)


def not_provided(given: object) -> str | None:
    """Why no program can provide objects of this type; None if it can."""
    if given is Any:
        return "annotate it with the type of the object that it needs"
    if given is None or isinstance(given, str | int | float | bytes | tuple):
        return "expected the type with which workers annotate the parameter, such as a class"
    if not isinstance(given, type):
        return None
    kind: type[Any] = given
    if issubclass(kind, AsyncSession | Session):
        return "sessions come from Oban(sessionmaker=…)"
    if is_by_annotation(kind) or kind.__module__.startswith("oban_sqla."):
        return f"{kind.__name__} is a class of oban_sqla, of which the runtime has the object"
    try:
        mapping_of(kind)
    except NoInspectionAvailable:
        return None
    return f"{kind.__name__} is a mapped class, whose objects belong to a session; pass the object as an argument"


def _check_factory(factory: object, what: str) -> None:
    if not callable(factory):
        raise InvalidOption(
            f"{what}: expected a function without parameters that makes the object, got {type(factory).__name__}; "
            "for an object that exists already write a function that returns it: lambda: client"
        )
    if (why := misfit(factory)) is not None:
        raise InvalidOption(f"{what}: the factory is called without arguments, and it needs some: {why}")


def _are_related(one: object, other: object) -> bool:
    if not (isinstance(one, type) and isinstance(other, type)):
        return one == other
    mine, theirs = cast(type[Any], one), cast(type[Any], other)
    return mine in theirs.__mro__ or theirs in mine.__mro__  # not issubclass: protocols refuse it


def _short(kind: object) -> str:
    return str(getattr(plain(kind), "__name__", kind))
