"""A worker's parameters as a schema: arguments are checked when a spec is made, and again before the job runs.

At ``.new()`` an argument too many is an error; at run it is ignored, so that a new version of a program may drop a
parameter while jobs of the old version are still queued.
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

# The first adapter would load it, when the first job is about to run.
import pydantic.fields  # noqa: F401  # pyright: ignore[reportUnusedImport]
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import ErrorDetails, SchemaError, to_json
from typing_extensions import TypedDict

from ..errors import ELSEWHERE, InvalidArgs, InvalidOption, closest
from ..models import Job, JobSpec
from ..models.kind import NAMES as SPEC_OPTIONS
from ..options.later import has_later
from ..options.resources import not_provided, plain, without_none
from .entity import GIVEN, refuse_hidden, rewritten
from .hints import hint_of
from .injection import is_injectable, is_session, marked, meant, refuse_dependency
from .ordering import in_order
from .returned import Returned
from .roundtrip import Parameter, Travel, difference, refuse_foreign
from .unresolved import Unresolved

_MISSING = inspect.Parameter.empty
# Type checkers know only the form with literals.
_typed_dict = typing.cast(Callable[[str, dict[str, Any]], Any], TypedDict)


class Arguments:
    """The parameters of one function.

    :param fn: the function.
    :param options: the names of the options of a worker, for messages.
    :raises InvalidOption: for parameters that can't be given by name.
    """

    def __init__(self, fn: Callable[..., Any], options: Container[str] = ()) -> None:
        self._fn = fn
        self._options = options
        self._marked = marked(fn)
        self._name = fn.__qualname__.replace("<locals>.", "")
        self._parameters = dict(inspect.signature(fn).parameters)
        for parameter in self._parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise InvalidOption(
                    f"{self._name}: the parameter {parameter} can't be given by name, and a job's args have names; "
                    "write it as an ordinary parameter"
                )

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name.

        :raises InvalidArgs: for more positional arguments than there are parameters, or one given twice.
        """
        if not args:
            return kwargs
        names = self._names
        if len(args) > len(names):
            noun = "argument" if len(names) == 1 else "arguments"
            takes = f"{len(names)} {noun} ({', '.join(names)})" if names else f"no {noun}"
            raise InvalidArgs(f"{self._name}: takes {takes}, got {len(args)}")
        bound = dict(zip(names, args, strict=False))
        if twice := bound.keys() & kwargs.keys():
            raise InvalidArgs(f"{self._name}: {sorted(twice)[0]!r} is given twice, by position and by name")
        return bound | kwargs

    def check(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """`args` validated, in the form in which JSON carries them.

        :raises InvalidArgs: naming the parameter: what does not fit it, and what would not come back from the database
            as it was given.
        """
        travel = self._travel
        try:
            valid: dict[str, Any] = travel.validator.validate_python(args, from_attributes=False)
        except ValidationError as error:
            raise self._invalid(error.errors()) from None
        if travel.is_open:
            for name, value in valid.items():
                if name not in travel.parameters:
                    refuse_foreign(value, f"{self._name}: {name}")
        for parameter in travel.untyped:
            if parameter.name in valid:
                refuse_foreign(valid[parameter.name], f"{self._name}: {parameter.name}")
        stored = self._dumped(valid) if travel.is_converted else valid
        for parameter in travel.with_sets:
            if (name := parameter.name) in valid and name in stored:
                stored[name] = in_order(stored[name], self._dump({name: valid[name]}, "python").get(name))
        for name, value in args.items():
            if type(value) in travel.unordered and name in stored:
                stored[name] = in_order(stored[name], value)
        if travel.read_again:
            self._refuse_changed(valid, stored, travel.read_again)
        return stored

    def _dumped(self, valid: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._dump(valid, "json")
        except Exception:  # whatever a serializer of the user's raises
            for name, value in valid.items():
                try:
                    self._dump({name: value}, "json")
                except UnicodeDecodeError:
                    raise InvalidArgs(
                        f"{self._name}: {name}: bytes that are not UTF-8, which JSON can't carry; encode them as text, "
                        "for example with base64"
                    ) from None
                except Exception as error:
                    where, kind = f"{self._name}: {name}", type(value).__name__
                    if (raised := error.__cause__) is not None:  # pydantic's of a serializer of the program
                        raise InvalidArgs(f"{where}: a serializer of {kind} raised {type(raised).__name__}") from raised
                    raise InvalidArgs(f"{where}: {kind}, which JSON can't carry; pass what identifies it") from None
            raise

    def _dump(self, valid: dict[str, Any], mode: typing.Literal["json", "python"]) -> dict[str, Any]:
        dumped: Any = self._strict.dump_python(valid, mode=mode, by_alias=True, round_trip=True, warnings=False)
        return typing.cast(dict[str, Any], dumped)

    def _refuse_changed(
        self, valid: Mapping[str, Any], stored: dict[str, Any], parameters: Iterable[Parameter]
    ) -> None:
        try:
            text = to_json(stored)
        except Exception:
            return  # where the text is made for good, a message says why it can't be
        try:
            back: dict[str, Any] = self._lenient.validate_json(text)
        except ValidationError as error:
            raise InvalidArgs(
                f"{self._name}: {'; '.join(map(self._sentence, error.errors()))}: as it would be stored, it could not "
                "be read again; annotate the parameter with a type that reads the JSON that it writes"
            ) from None
        for parameter in parameters:
            name = parameter.name
            if name in valid and (change := difference(valid[name], back.get(name), parameter.holds_any)) is not None:
                path, how = change
                raise InvalidArgs(
                    f"{self._name}: {'.'.join((name, *path))}: {how}; pass what identifies it, or annotate the "
                    "parameter with a type that reads the JSON that it writes"
                )

    def check_known(self, args: Mapping[str, Any]) -> None:
        """Check what can be before the flush: the names, and the arguments in which no `later` stands.

        :raises InvalidArgs: naming the parameter.
        """
        known = {name: value for name, value in args.items() if not has_later(value)}
        try:
            self._strict.validate_python(known, from_attributes=False)
        except ValidationError as error:
            waiting = [(name,) for name in args if name not in known]
            if details := [detail for detail in error.errors() if detail["loc"] not in waiting]:
                raise self._invalid(details) from None

    def load_json(self, args: str, given: Sequence[object] = ()) -> dict[str, Any]:
        """Stored `args` as keyword arguments for the function, with a :class:`Key` for each instance.

        :param given: the instances that a test hands to its job.
        :raises InvalidArgs: naming the parameter.
        """
        if args == "{}" and self._reads_nothing:
            return {}
        context = {GIVEN: given} if given else None
        try:
            # By its validator: the method of the adapter around it takes as long again.
            read: dict[str, Any] = self._lenient.validator.validate_json(args, context=context)
            return read
        except ValidationError as error:
            raise self._invalid(error.errors(), is_stored=True) from None

    def prepare(self) -> None:
        """Build what reads stored args. It takes a millisecond, and ten for the first worker of a process.

        :raises InvalidOption: for a parameter whose type JSON can't carry.
        """
        _ = self._reads_nothing or self._lenient

    @cached_property
    def _reads_nothing(self) -> bool:
        return all(
            name in self.injected or parameter.kind is parameter.VAR_KEYWORD
            for name, parameter in self._parameters.items()
        )

    @cached_property
    def injected(self) -> dict[str, Any]:
        """The parameters that the runtime fills in, with the type that each asks for. They are not part of the args.

        :raises InvalidOption: for one that is marked and of a type that no runtime provides, or a second session.
        """
        wanted: dict[str, Any] = {}
        for name, hint in self._hints.items():
            kind = plain(hint)
            if is_injectable(kind):
                wanted[name] = kind
            elif typing.get_args(kind) == (Job,) and not self.takes_jobs:
                raise InvalidOption(
                    f"{self._name}: {name}: list[Job]: a function takes several jobs with chunk= only: "
                    "@job(chunk=Chunk(size=100))"
                )
            elif name in self._marked:
                if (reason := not_provided(kind)) is not None:
                    raise InvalidOption(f"{self._name}: {name} = injected(): {reason}")
                wanted[name] = without_none(hint)
            else:
                refuse_dependency(self._parameters.get(name), self._name)
        sessions = [name for name, kind in wanted.items() if is_session(kind)]
        if len(sessions) > 1:
            raise InvalidOption(
                f"{self._name}: {' and '.join(sessions)} are sessions, and a job has one, whose commit completes it; "
                "ask for one of them"
            )
        return wanted

    @property
    def takes_jobs(self) -> bool:
        """Whether the function takes the list of its jobs."""
        return False

    def check_early(self) -> None:
        """Check what the runtime is to fill in, and mapped classes, if all annotations are known already.

        :raises InvalidOption: as :attr:`injected` does, and for a mapped class whose key would not tell the row.
        """
        with contextlib.suppress(Unresolved):
            _ = self.injected
            self._read_hints()

    def _read_hints(self) -> dict[str, tuple[Any, bool]]:
        """What pydantic is told of each argument, and whether there are instances of mapped classes in it."""
        with self._resolving():
            return {
                name: rewritten(self._hints[name], f"{self._name}: {name}")
                for name, parameter in self._parameters.items()
                if name not in self.injected and parameter.kind is not parameter.VAR_KEYWORD
            }

    # Kept from the first use on, not from the decoration: a class may be mapped between the two.
    @cached_property
    def _types(self) -> dict[str, tuple[Any, bool]]:
        return self._read_hints()

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """The parameters that take instances of mapped classes."""
        return tuple(name for name, (_, has_entity) in self._types.items() if has_entity)

    @cached_property
    def signature(self) -> inspect.Signature:
        """The parameters that a caller of ``.new()`` gives."""
        given = [one for name, one in self._parameters.items() if name not in self.injected]
        return inspect.Signature(given, return_annotation=JobSpec)

    @cached_property
    def _names(self) -> list[str]:
        return [
            name
            for name, parameter in self._parameters.items()
            if name not in self.injected and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]

    @cached_property
    def _hints(self) -> dict[str, Any]:
        with self._resolving():
            hints = typing.get_type_hints(self._fn, include_extras=True)
            for hint in hints.values():
                plain(hint)  # of a `type X = …` the right side is looked at when it is asked for
        return {name: hints.get(name, Any) for name in self._parameters}

    @contextlib.contextmanager
    def _resolving(self) -> Generator[None]:
        try:
            yield
        except NameError as error:
            raise Unresolved(
                f"{self._name}: its annotation names {error.name!r}, which is not known where it is defined; "
                "import it at the module's top, not only under TYPE_CHECKING or inside a function"
            ) from None

    @cached_property
    def returned(self) -> Returned:
        """What the function declares to return."""
        return Returned(self._fn)

    @property
    def hints(self) -> Mapping[str, Any]:
        """The annotations of the parameters, by name."""
        return self._hints

    @property
    def described(self) -> str:
        """The parameters as they are written, without those that are injected."""
        shown = [parameter for name, parameter in self._parameters.items() if name not in self.injected]
        return ", ".join(str(parameter) for parameter in shown)

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The JSON schema of the args; None where a type has none."""
        try:
            return self._strict.json_schema()
        except PydanticInvalidForJsonSchema:
            return None

    @cached_property
    def _strict(self) -> TypeAdapter[Any]:
        return self._adapter("forbid")

    @cached_property
    def _lenient(self) -> TypeAdapter[Any]:
        return self._adapter("ignore")

    @cached_property
    def _travel(self) -> Travel:
        return Travel(self._strict, self._is_open)

    def no_parameter(self, name: str) -> str | None:
        """What to say of `name` where no job's args can have it; None where they can."""
        if self._is_open or self.takes_jobs or name in self._parameters:
            return None
        near = closest(name, self._parameters)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(self._parameters) or 'none'}"
        return f"the function has no parameter {name!r}; {hint}"

    @property
    def _is_open(self) -> bool:
        return any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._parameters.values())

    def _adapter(self, extra: typing.Literal["forbid", "ignore"]) -> TypeAdapter[Any]:
        fields: dict[str, Any] = {}
        for name, (made, _) in self._types.items():
            hint = _several(made)
            fields[name] = hint if self._parameters[name].default is _MISSING else typing.NotRequired[hint]
        schema: Any = _typed_dict(self._name, fields)
        schema.__pydantic_config__ = ConfigDict(
            extra="allow" if self._is_open else extra, arbitrary_types_allowed=True, populate_by_name=True
        )
        try:
            adapter = TypeAdapter[Any](schema)
        except (PydanticUserError, SchemaError) as error:
            said = " ".join(str(error).partition("\n\nFor further")[0].split())
            raise InvalidOption(f"{self._name}: a parameter has a type that JSON can't carry: {said}") from None
        refuse_hidden(adapter.core_schema, self._name)
        return adapter

    def _invalid(self, details: Iterable[ErrorDetails], is_stored: bool = False) -> InvalidArgs:
        # Without the values: they may be secret, and messages travel to logs.
        return InvalidArgs(f"{self._name}: " + "; ".join(self._sentence(one, is_stored) for one in details))

    def _sentence(self, detail: ErrorDetails, is_stored: bool = False) -> str:
        where = ".".join(str(part) for part in detail["loc"]) or "args"
        match detail["type"]:
            case "missing":
                return f"the argument {where!r} is missing{meant(self._parameters)}"
            case "extra_forbidden" if len(detail["loc"]) == 1:
                return f"there is no parameter {where!r}{self._instead(where)}"
            case "extra_forbidden":
                return f"there is no field {where!r}"
            case "instance":
                return f"{where}: {detail['msg']}"
            case _:
                given = detail["input"]
                return f"{where}: {detail['msg']} (got {type(given).__name__}){hint_of(given, is_stored)}"

    def _instead(self, name: str) -> str:
        """What was meant by the `name` of a parameter that there is not."""
        if name in self.injected:
            return ", it is filled in when the job runs"
        ours = ELSEWHERE.get(name, "")
        if name in SPEC_OPTIONS:
            return f", it is an option: .options({name}=…).new(…)"
        if name in self._options:
            return f", it is an option of the worker: @job({name}=…)"
        if near := closest(name, [one for one in self._parameters if one not in self.injected]):
            return f", did you mean {near!r}?"
        if ours in SPEC_OPTIONS:
            return f", did you mean the option {ours}: .options({ours}=…).new(…)?"
        return f", did you mean the option {ours} of the worker: @job({ours}=…)?" if ours in self._options else ""


def _several(hint: Any) -> Any:
    """A list where any iterable will do: pydantic makes an iterator of it, which ends after its first use."""
    if typing.get_origin(hint) is collections.abc.Iterable:
        return types.GenericAlias(list, typing.get_args(hint))
    return hint
