"""What workers with ``encrypted=True`` store is encrypted here, and decrypted: one pair of functions for every place.

::

    text = sealed(row.worker, json.dumps(value))     # before it goes into any table
    value = json.loads(opened(row.worker, text))     # after it came from there

For other workers both give the text back as it is. What :func:`sealed` returns is JSON, and text that a `jsonb` column
takes: ``{"encrypted": "gAAAA…"}``; :func:`opened` takes it from either. :func:`encrypts` says whether a worker does;
where a value has to be found by SQL, refuse it for such a worker instead. The keys are those of the node that runs the
code, in its tasks and threads and children alike, or else those of the process.

An error of such a job is stored and logged without its message: ``runtime.traceback_text`` makes the text.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import InvalidArgs, InvalidOption, KeyMissing
from ..models import JobSpec
from ..options.encryption import Encryption, is_sealed, seal, sealed_length, token_in, unseal
from ..options.unique import Unique
from .registry import workers


class ArgsUnopened(KeyMissing):
    """No key opens the arguments of a job that is about to run. The job is given back."""


def encrypts(worker: str) -> bool:
    """Whether the worker of this name, or alias, encrypts what it stores."""
    return worker in workers.encrypted


def sealed(worker: str, text: str, encryption: Encryption | None = None) -> str:
    """`text`, or JSON that holds it encrypted if the worker encrypts what it stores.

    :param worker: the name that the job's row has.
    :param text: usually JSON. What is encrypted already stays as it is.
    :param encryption: the keys. Default: those that count here.
    :raises InvalidOption: when there are no keys.
    """
    if worker not in workers.encrypted or token_in(text) is not None:
        return text
    return seal(worker, text, encryption)


def opened(worker: str, text: str) -> str:
    """The text of which :func:`sealed` made `text`; a text that is not encrypted stays as it is.

    :param worker: the name that the job's row has. It need not be known to this process.
    :raises KeyMissing: when no key opens it.
    """
    token = token_in(text)
    if token is None:
        return text
    known = workers.get(worker)
    names = {worker} if known is None else {worker, known.name, *known.aliases}
    try:
        return unseal(names, token)
    except KeyMissing:
        if known is not None and worker not in workers.encrypted:
            return text  # it only looks like a token
        raise


def opened_value(worker: str, value: Any) -> Any:
    """The same for a value of JSON as Python has it, from a `jsonb` column.

    :raises KeyMissing: when no key opens it.
    """
    return json.loads(opened(worker, json.dumps(value))) if is_sealed(value) else value


def opened_args(worker: str, args: str) -> str:
    """The opened args of a job that is about to run.

    :raises ArgsUnopened: when no key opens them.
    """
    try:
        return opened(worker, args)
    except KeyMissing as error:
        raise ArgsUnopened(str(error)) from error.__cause__


def sealed_args(worker: str, args: str, encryption: Encryption | None = None) -> str:
    """The sealed args of a job that is about to be written.

    :raises InvalidArgs: when they are longer then than args may be.
    """
    text = sealed(worker, args, encryption)
    if text is not args:
        refuse_long(worker, len(text))
    return text


def refuse_long(worker: str, length: int) -> None:
    """Refuse args whose token is longer than args may be.

    :raises InvalidArgs: with both lengths.
    """
    if length > JobSpec.max_args_bytes:
        raise InvalidArgs(
            f"{worker}: args: {length:,} bytes when they are encrypted, at most {JobSpec.max_args_bytes:,} are "
            "allowed; store large data elsewhere and pass a key to it (or raise JobSpec.max_args_bytes)"
        )


def check_length(worker: str, args: str) -> None:
    """Refuse args whose token would be too long, as soon as the args are known."""
    refuse_long(worker, sealed_length(worker, args))


def refuse_unique(worker: str, unique: Unique | None) -> None:
    """Refuse a key of encrypted args.

    :raises InvalidOption: a digest of few possible values tells which one it is, and no two tokens are equal.
    """
    if unique is not None and "args" in unique.fields:
        raise InvalidOption(
            f"worker {worker!r}: it encrypts its arguments, so they can't be compared; "
            'choose other fields: Unique(fields=["worker", "meta"], keys=[…])'
        )


__all__ = ["ArgsUnopened", "encrypts", "opened", "opened_args", "opened_value", "sealed", "sealed_args"]
