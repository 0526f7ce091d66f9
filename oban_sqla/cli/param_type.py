"""The base class of our types of options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """The class of click, which takes the type of its values in brackets only from version 8.4 on."""

        def __class_getitem__(cls, _values: object) -> type:
            return cls


__all__ = ["ParamType"]
