"""``[[crontab]]`` of the settings: entries whose workers are known only when the modules are imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidArgs, InvalidOption, closest
from ...models import JobSpec
from ...models.kind import NAMES
from ...options.unique import Unique
from ...workers.cron import Cron, packed
from ...workers.registry import workers
from .place import Place, SettingsError
from .toml import array, table

_OF_THE_ENTRY = ("expression", "timezone", "name", "paused", "catch_up")
_OF_THE_JOB = ("worker", "args", *NAMES)
_OF_UNIQUE = ("period", "fields", "keys", "states")


@dataclass(frozen=True, slots=True)
class Entry:
    """One table ``[[crontab]]``.

    :param place: of the table.
    :param cron: its times, without a job.
    :param worker: the name of its worker.
    :param args: the arguments of its job.
    :param options: the options of its job, as :class:`JobSpec` takes them.
    """

    place: Place
    cron: Cron
    worker: str
    args: Mapping[str, Any]
    options: Mapping[str, Any]

    def with_worker(self) -> Cron:
        """The entry with its job. To be called when the workers are registered.

        :raises SettingsError: for a worker that is not registered, or a job that can't be made.
        """
        if (worker := workers.get(self.worker)) is None:
            near = closest(self.worker, workers)
            hint = f"did you mean {near!r}?" if near else "start its module, too, or import it"
            raise SettingsError(f"{self.place.key('worker')}: unknown worker {self.worker!r}; {hint}")
        cron = self.cron
        try:
            spec = JobSpec(worker, self.args, **self.options)
            return Cron(cron.expression, spec, cron.timezone, cron.name, cron.paused, cron.catch_up)
        except (InvalidOption, InvalidArgs) as error:
            raise SettingsError(f"{self.place} {error}") from error


def entries(value: Any, place: Place) -> tuple[Entry, ...]:
    """The entries of an array of tables.

    :raises InvalidOption: when it is not an array.
    :raises SettingsError: for an entry that is not valid.
    """
    if (given := array(value)) is None:
        raise InvalidOption("expected tables [[crontab]], each with an expression and a worker")
    return tuple(_entry(one, Place(place.file, place.name, at)) for at, one in enumerate(given, 1))


def _entry(value: Any, place: Place) -> Entry:
    if (given := table(value)) is None:
        raise SettingsError(f"{place} expected a table with an expression and a worker, got {value!r}")
    place.refuse_unknown(given, (*_OF_THE_ENTRY, *_OF_THE_JOB))
    for name in ("expression", "worker"):
        if name not in given:
            raise SettingsError(f"{place} {name} is missing")
        if not isinstance(given[name], str):
            raise SettingsError(f"{place.key(name)}: expected text, got {given[name]!r}")
    if (args := table(given.get("args", {}))) is None:
        raise SettingsError(f"{place.key('args')}: expected a table, such as {{ days = 7 }}, got {given['args']!r}")
    try:
        cron = Cron(**{name: given[name] for name in _OF_THE_ENTRY if name in given})
        options = {name: given[name] for name in NAMES if name in given}
        if "unique" in options:
            options["unique"] = _unique(options["unique"], place)
        packed(JobSpec(given["worker"], args, **options))
    except (InvalidOption, InvalidArgs) as error:
        raise SettingsError(f"{place} {error}") from error
    return Entry(place, cron, given["worker"], args, options)


def _unique(value: Any, place: Place) -> Unique:
    if value is True:
        return Unique()
    if (given := table(value)) is None:
        raise SettingsError(
            f"{place.key('unique')}: expected true, or a table such as {{ period = 60 }}; got {value!r}"
        )
    place.refuse_unknown(given, _OF_UNIQUE, "unique.")
    return Unique(**given)
