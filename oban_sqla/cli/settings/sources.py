"""The sources of settings, and which of them counts.

The file is ``oban.toml`` in the current directory, or else ``[tool.oban_sqla]`` of ``pyproject.toml`` there. The
environment overrides the file, and arguments override both. A setting that none of them has gets its default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ...errors import InvalidOption, closest
from ...options.heartbeat import Heartbeat
from .keys import KEYS
from .place import Place, SettingsError
from .toml import parsed, table

F = TypeVar("F", bound=Callable[..., Any])

FILE = "oban.toml"
PROJECT = "pyproject.toml"
PREFIX = "OBAN_"

_OTHERS = {"OBAN_WEB_TOKEN", "OBAN_EMBEDDED_BINARIES", "OBAN_TEST_DATABASE_URL"}
"""Variables with our prefix that are not settings."""

_CONFIG = "oban_sqla.config"
_SETTINGS = "oban_sqla.settings"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and its source: ``oban.toml: [queues]``, ``OBAN_NODE``, ``--node``."""

    value: Any
    source: str


class Settings:
    """The settings of the environment and the file. The environment counts if both have one.

    :param file: the settings in the file, already checked.
    :param environment: names and values; a setting is checked when it is used.
    """

    def __init__(self, file: Mapping[str, Setting], environment: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment

    def get(self, name: str) -> Setting | None:
        """A setting; None when it is not set.

        :raises SettingsError: for a value in the environment that is not valid.
        """
        variable = PREFIX + name.upper()
        parse = KEYS[name].parse
        # An empty variable is unset, as it is for click.
        if not (text := self._environment.get(variable)):
            return self._file.get(name)
        if parse is None:
            raise SettingsError(f"{variable}: can't be given in the environment; write it into {FILE}")
        try:
            return Setting(KEYS[name].read(parse(text), Place(variable)), variable)
        except InvalidOption as error:
            raise SettingsError(f"{variable}: {_said(error, name)}") from error

    def value(self, name: str) -> Any:
        """The value of a setting; None when it is not set."""
        setting = self.get(name)
        return None if setting is None else setting.value

    def of_runtime(self) -> dict[str, Setting]:
        """The options of :class:`~oban_sqla.Oban` that are set."""
        options = ((name, key.option or name) for name, key in KEYS.items() if key.of_runtime)
        return {option: setting for name, option in options if (setting := self.get(name)) is not None}


def settings() -> Settings:
    """The settings of the running command. They are read when they are first needed.

    :raises SettingsError: for a file that can't be used.
    """
    meta = click.get_current_context().meta
    if _SETTINGS not in meta:
        meta[_SETTINGS] = read(meta.get(_CONFIG), os.environ)
        _name_misspelt(os.environ)
    found: Settings = meta[_SETTINGS]
    return found


def heartbeat() -> Heartbeat:
    """The heartbeat of the nodes: that of the settings, else the default.

    Every command that judges which nodes are alive uses this. A node of this package publishes when it is stale. The
    settings say it for other nodes, and say how long an open connection counts.
    """
    found: Heartbeat | None = settings().value("heartbeat")
    return found or Heartbeat()


def explaining() -> dict[str, Any]:
    """The options of :class:`~oban_sqla.Oban` that the explanation of a job needs.

    They say when its node is dead, how long a finished job is kept, and when a waiting job becomes more urgent.
    """
    options = {name: found.value for name in ("prune", "prioritize") if (found := settings().get(name)) is not None}
    return {"heartbeat": heartbeat(), **options}


def config_option(command: F) -> F:
    """``--config``; before or after the command's name."""

    def remember(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.meta[_CONFIG] = value

    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=remember,
        help=f"Settings file. Default: {FILE}, or [tool.oban_sqla] in {PROJECT}.",
    )(command)


def read(config: Path | None, environment: Mapping[str, str]) -> Settings:
    """The settings of a file, and of the environment.

    :param config: the file; None for the file in the current directory, if there is one.
    :raises SettingsError: for a file that can't be read, or an unknown key or a bad value in it.
    """
    path = next((path for path in (Path(FILE), Path(PROJECT)) if path.is_file()), None) if config is None else config
    if path is None:
        return Settings({}, environment)
    place = Place(str(path))
    given = parsed(path)
    if path.name == PROJECT:
        if (section := _section(given, place)) is None:
            if config is not None:
                raise SettingsError(f"{path}: it has no table [tool.oban_sqla]")
            return Settings({}, environment)
        given, place = section, place.table("tool").table("oban_sqla")
    place.refuse_unknown(given, KEYS)
    return Settings({name: _setting(name, value, place) for name, value in given.items()}, environment)


def _name_misspelt(environment: Mapping[str, str]) -> None:
    """Print the variables that look like misspelt settings. They are no error: another program may use them."""
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in KEYS or variable in _OTHERS:
            continue
        if near := closest(name, KEYS):
            click.echo(f"{variable} is not a setting, and is ignored; did you mean {PREFIX}{near.upper()}?", err=True)


def _section(given: Mapping[str, Any], place: Place) -> dict[str, Any] | None:
    tools = table(given.get("tool")) or {}
    if "oban-sqla" in tools:
        raise SettingsError(f"{place.file}: [tool.oban-sqla]: unknown; did you mean [tool.oban_sqla]?")
    if "oban_sqla" in tools and table(tools["oban_sqla"]) is None:
        raise SettingsError(f"{place.file}: tool.oban_sqla: expected a table [tool.oban_sqla]")
    return table(tools.get("oban_sqla"))


def _setting(name: str, value: Any, place: Place) -> Setting:
    where = str(place.table(name)) if isinstance(value, dict) else place.key(name)
    try:
        return Setting(KEYS[name].read(value, place.table(name)), where)
    except InvalidOption as error:
        raise SettingsError(f"{where}: {_said(error, name)}") from error


def _said(error: InvalidOption, name: str) -> str:
    return str(error).removeprefix("Oban: ").removeprefix(f"{name}: ")
