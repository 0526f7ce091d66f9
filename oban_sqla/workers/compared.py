"""The arguments by which jobs are compared: the keys of unique jobs, and of chains.

A key that is missing counts as null. So a key that no parameter has would be null in every job: all jobs of the worker
would be duplicates of the first one, or wait for each other.
"""

from __future__ import annotations

from ..errors import InvalidOption
from ..options.chain import Chain
from ..options.unique import Unique
from .arguments import Arguments
from .sealing import refuse_unique


def checked_chain(chain: object, arguments: Arguments | None, encrypted: bool, what: str) -> Chain | None:
    """The option `chain` of a worker.

    :param arguments: of its function; None for a class, whose jobs take any args.
    :raises InvalidOption: for another type, a key of encrypted args, and one that is not a parameter.
    """
    if chain is None:
        return None
    if not isinstance(chain, Chain):
        raise InvalidOption(f'{what}: chain must be Chain(by="args.…"), got {chain!r}')
    of_args = [field for field in chain.fields if field.startswith("args.")]
    if of_args and encrypted:
        raise InvalidOption(f"{what}: a chain by {chain.by!r} would compare args, which are encrypted; use meta")
    for field in of_args:
        _refuse_unknown(field.split(".")[1], arguments, f"{what}: Chain(by={field!r})")
    return chain


def refuse_keys(worker: str, unique: Unique | None, arguments: Arguments | None, encrypted: bool) -> None:
    """Refuse keys by which jobs of `worker` can't be compared.

    :raises InvalidOption: for a key of encrypted args, and one that is not a parameter.
    """
    if unique is None:
        return
    if encrypted:
        refuse_unique(worker, unique)
    if unique.keys and "args" in unique.fields:
        for key in unique.keys:
            _refuse_unknown(key, arguments, f"worker {worker!r}: Unique(keys)")


def refuse_changes(worker: str, unique: Unique | None) -> None:
    """Refuse a job that belongs to others, and would change a job that may belong to none, or to different ones.

    :raises InvalidOption: naming the worker.
    """
    if unique is not None and unique.changes:
        raise InvalidOption(
            f"{worker}: Unique(replace=…) and Unique(debounce=…) can't be used for a job in a chain, a chunk or a "
            "batch, or for a callback of one, because the job that is there may be in another one; leave out one of "
            "the two"
        )


def _refuse_unknown(key: str, arguments: Arguments | None, what: str) -> None:
    if arguments is not None and (reason := arguments.no_parameter(key)) is not None:
        raise InvalidOption(f"{what}: {reason}")
