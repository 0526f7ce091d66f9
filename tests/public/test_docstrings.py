"""Every public function, method and class documents its own parameters."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import inspect as inspect_mapping
from sqlalchemy.orm import DeclarativeBase, Mapper
from typing_extensions import is_protocol

from oban_sqla import JobSpec, ObanError
from tests.public.docstrings import documented, methods, parameters, public
from tests.public.modules import MODULES

THINGS = dict(thing for name in MODULES for thing in public(import_module(name)))
# What ``@job`` and ``@worker`` return is public, although its classes are not exported.
RETURNED: dict[str, type[Any]] = {
    f"oban_sqla.workers.{module}.{name}": getattr(import_module(f"oban_sqla.workers.{module}"), name)
    for module, name in (("function", "JobFunction"), ("function", "WithOptions"), ("classes", "WorkerClass"))
}
CLASSES: dict[str, type[Any]] = {name: thing for name, thing in THINGS.items() if inspect.isclass(thing)} | RETURNED
FUNCTIONS = {name: thing for name, thing in THINGS.items() if inspect.isfunction(thing)}
METHODS = {f"{owner}.{name}": method for owner, cls in CLASSES.items() for name, method in methods(cls)}

# What sends the reader to another docstring for parameters.
ELSEWHERE = re.compile(
    r"(?:parameters?|results?|options|rest|others?) (?:is|are) (?:as in|as for|those of|that of) :|whose parameters|"
    r"[:,] as (?:in|for) :|^See :",
    re.IGNORECASE,
)


def attributes(cls: type[Any]) -> set[str]:
    """The columns or fields of `cls`."""
    if is_dataclass(cls):
        return {field.name for field in fields(cls)}
    if not is_mapped(cls):
        return set()
    mapper: Mapper[Any] = inspect_mapping(cls)
    return {attribute.key for attribute in mapper.column_attrs if attribute.key[0] != "_"}


def is_mapped(cls: type[Any]) -> bool:
    return issubclass(cls, DeclarativeBase) and cls is not JobSpec


def is_made_by_users(cls: type[Any]) -> bool:
    """Whether users call `cls`; the package raises its errors, and makes its rows, servers and workers."""
    made = {"Crons", "JobFunction", "Limiter", "Server", "WithOptions", "WorkerClass"}
    return not (is_mapped(cls) or is_dataclass(cls) or issubclass(cls, ObanError) or cls.__name__ in made)


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_every_parameter_is_documented_in_the_functions_own_docstring(name: str) -> None:
    function = (FUNCTIONS | METHODS)[name]
    assert inspect.getdoc(function), f"{name} has no docstring"
    missing = parameters(function) - documented(function)
    assert not missing, f"{name} does not document {sorted(missing)}"


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_a_docstring_documents_no_parameter_that_there_is_not(name: str) -> None:
    function = (FUNCTIONS | METHODS)[name]
    assert documented(function) <= parameters(function)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_documents_its_parameters_and_attributes(name: str) -> None:
    cls = CLASSES[name]
    assert cls.__doc__, f"{name} has no docstring"
    wanted = attributes(cls)
    if "__init__" in vars(cls) and is_made_by_users(cls) and not is_protocol(cls):
        wanted |= parameters(vars(cls)["__init__"])
    missing = wanted - documented(cls)
    assert not missing, f"{name} does not document {sorted(missing)}"


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS, *CLASSES])
def test_no_docstring_sends_the_reader_elsewhere_for_parameters(name: str) -> None:
    text = inspect.getdoc((FUNCTIONS | METHODS | CLASSES)[name]) or ""
    assert not ELSEWHERE.search(" ".join(text.split())), text


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_property_has_a_docstring(name: str) -> None:
    bare = [
        attribute
        for attribute, member in vars(CLASSES[name]).items()
        if isinstance(member, property) and not attribute.startswith("_") and not member.__doc__
    ]
    assert not bare
