"""A plugin for mypy, which does not see what a class decorator adds: the ``new`` of a class with ``@worker``.

::

    [tool.mypy]
    plugins = ["oban_sqla.mypy"]

Not needed for functions with ``@job``, nor by pyright.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.nodes import ARG_NAMED_OPT, ARG_OPT, ARG_POS, ArgKind, Argument, TypeInfo, Var
from mypy.plugin import ClassDefContext, Plugin, SemanticAnalyzerPluginInterface
from mypy.plugins.common import add_attribute_to_class, add_method_to_class
from mypy.types import AnyType, NoneType, Type, TypeOfAny, UnionType

DECORATOR = "oban_sqla.workers.classes.worker"
SPEC, OPTIONS = "oban_sqla.models.spec.JobSpec", "oban_sqla.models.spec.SpecOptions"
ATTRIBUTES = {"worker": "oban_sqla.workers.worker.Worker", "worker_name": "builtins.str"}


class WorkerPlugin(Plugin):
    """Adds to a class what ``@worker`` does."""

    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        """mypy asks for each decorator of a class.

        :param fullname: of the decorator.
        """
        return _add_members if fullname == DECORATOR else None


def plugin(version: str) -> type[Plugin]:
    """What mypy calls.

    :param version: of mypy.
    """
    return WorkerPlugin


def _add_members(context: ClassDefContext) -> bool:
    api, cls = context.api, context.cls
    anything = AnyType(TypeOfAny.explicit)
    spec = api.named_type_or_none(SPEC, [anything])
    options = api.lookup_fully_qualified_or_none(OPTIONS)
    if spec is None or options is None or not isinstance(options.node, TypeInfo) or not options.node.typeddict_type:
        return False  # not analysed yet: mypy asks again
    mapping = api.named_type("typing.Mapping", [api.named_type("builtins.str"), anything])
    given = [_argument("args", UnionType([mapping, NoneType()]), ARG_OPT)]
    given += [_argument(name, of, ARG_NAMED_OPT) for name, of in options.node.typeddict_type.items.items()]
    add_method_to_class(api, cls, "new", given, spec, is_staticmethod=True)
    checked = [_argument("args", mapping, ARG_POS)]
    add_method_to_class(api, cls, "checked_args", checked, mapping, is_staticmethod=True)
    add_method_to_class(api, cls, "check_known", checked, NoneType(), is_staticmethod=True)
    kind = api.named_type("builtins.tuple", [anything])
    for name, of in {"spec_kind": kind, "entities": kind, **_attributes(api)}.items():
        add_attribute_to_class(api, cls, name, of, is_classvar=True)
    return True


def _argument(name: str, of: Type, kind: ArgKind) -> Argument:
    return Argument(Var(name, of), of, None, kind, pos_only=kind is ARG_OPT)


def _attributes(api: SemanticAnalyzerPluginInterface) -> dict[str, Type]:
    return {name: api.named_type_or_none(of) or AnyType(TypeOfAny.explicit) for name, of in ATTRIBUTES.items()}
