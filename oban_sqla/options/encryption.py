"""Encrypted arguments: the keys, and the tokens that they make.

A token is Fernet's (AES-128-CBC and HMAC-SHA256). Inside stands the worker's name, a NUL, and the text. So a token that
was copied to a job of another worker opens nothing there. As JSON it is ``{"encrypted": "gAAAA…"}``.

Which keys count: those of the :class:`Oban` that runs this code, or else those of the process.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeAlias, cast

from ..errors import InvalidOption, KeyMissing
from .spelling import spelled

Keys: TypeAlias = Sequence[str | bytes]
"""Fernet keys, 32 bytes in URL-safe base64 each. The first encrypts, all of them decrypt."""

MARK: Final = "encrypted"
"""The only key of the JSON object that is stored in place of what was encrypted."""

SEALED: Final = f'{{"{MARK}":'
"""With which the JSON text of that object begins."""

_VERSION = "gAAAA"
"""With which every Fernet token begins: its version, and a time before the year 2106."""


@spelled
class Encryption:
    """The keys that encrypt the arguments of jobs: ``Oban(engine, encryption=Encryption(keys=[new, old]))``.

    It encrypts what workers with ``@job(encrypted=True)`` store. The first key encrypts, every key decrypts. To rotate
    keys, add the new one as the second on all nodes, then put it first, and remove the old one when no job waits that
    was encrypted with it.

    :param keys: a list of Fernet keys (text or bytes; ``Fernet.generate_key()`` makes one), or a plain function that
        returns such a list. The function is called whenever something is encrypted or decrypted, so let it return from
        memory.
    :raises InvalidOption: for an empty list, and for what is not a Fernet key. Messages and ``repr`` never have a key.
    :raises ImportError: where the package ``cryptography`` is not installed: ``pip install 'oban-sqla[encryption]'``.
    """

    __slots__ = ("_given", "_ring")

    def __init__(self, keys: Keys | Callable[[], Keys]) -> None:
        _fernet()
        self._ring: tuple[tuple[bytes, ...], Any] | None = None
        self._given = keys
        if callable(keys):
            if inspect.iscoroutinefunction(keys) or isinstance(keys, type):
                raise InvalidOption(f"Encryption(keys): expected a list of keys or a plain function, got {keys!r}")
        else:
            self._keys()

    def __repr__(self) -> str:
        return "Encryption(keys=…)"

    def _keys(self) -> tuple[bytes, ...]:
        return _checked(self._given() if callable(self._given) else self._given)

    def _fernets(self) -> Any:
        """The keys as one object that encrypts and decrypts; kept for as long as they are the same."""
        keys = self._keys()
        if (ring := self._ring) is None or ring[0] != keys:
            single, several, _ = _fernet()
            self._ring = ring = (keys, several([single(key) for key in keys]))
        return ring[1]


def keys_of(encryption: Encryption) -> list[str]:
    """The keys of `encryption` now, for a process that has none."""
    return [key.decode() for key in encryption._keys()]  # pyright: ignore[reportPrivateUsage]


_current: ContextVar[Encryption | None] = ContextVar("oban_sqla_encryption", default=None)
_configured: Encryption | None = None
_of_runtime: Encryption | None = None


def configure_encryption(encryption: Encryption | Keys | Callable[[], Keys] | None = None) -> None:
    """Give this process the keys of encrypted arguments. For processes that enqueue jobs and make no :class:`Oban`.

    An :class:`Oban` with ``encryption=`` uses its own keys for what it runs and enqueues.

    :param encryption: an :class:`Encryption`, or the keys of one: a list of Fernet keys or a function that returns it.
        Default None: take the keys away again.
    :raises InvalidOption: for what is not a list of Fernet keys.
    """
    global _configured
    if encryption is not None and not isinstance(encryption, Encryption):
        encryption = Encryption(encryption)
    _configured = encryption


def remember(encryption: Encryption | None) -> None:
    """An :class:`Oban` has these keys: they are those of the process where nothing else was said."""
    global _of_runtime
    if encryption is not None:
        _of_runtime = encryption


def checked_encryption(given: object) -> Encryption | None:
    """`given`, if it is an :class:`Encryption` or None.

    :raises InvalidOption: for anything else.
    """
    if given is None or isinstance(given, Encryption):
        return given
    raise InvalidOption(f"Oban: encryption must be Encryption(keys=…), got {type(given).__name__}")


@contextmanager
def using(encryption: Encryption | None) -> Generator[None]:
    """Use these keys in this context, and in the tasks that are started in it. None changes nothing."""
    if encryption is None:
        yield
        return
    token = _current.set(encryption)
    try:
        yield
    finally:
        _current.reset(token)


def in_use() -> Encryption | None:
    """The keys of this context: those of the node that runs this code."""
    return _current.get()


def current() -> Encryption | None:
    """The keys that count here; None for none."""
    return _current.get() or _configured or _of_runtime


def is_sealed(value: object) -> bool:
    """Whether a value of JSON is what is stored in place of one that was encrypted.

    :param value: the args of a job, a recorded value and the like, as Python objects.
    """
    if not isinstance(value, dict):
        return False
    held = cast(dict[object, object], value)
    token = held.get(MARK)
    return len(held) == 1 and isinstance(token, str) and token.startswith(_VERSION)


def token_in(text: str) -> str | None:
    """The token in `text`, which is JSON; None where it was not encrypted."""
    if not text.startswith(SEALED):
        return None
    try:
        value: object = json.loads(text)
    except ValueError:
        return None
    return str(cast(dict[str, object], value)[MARK]) if is_sealed(value) else None


def seal(worker: str, text: str, encryption: Encryption | None = None) -> str:
    """`text` as JSON that holds it encrypted.

    :param worker: the name of the worker to whose jobs it belongs.
    :param encryption: the keys. Default: those that count here.
    :raises InvalidOption: when there are none.
    """
    encryption = encryption or current()
    if encryption is None:
        raise InvalidOption(
            f"the worker {worker!r} encrypts what it stores, and this process has no keys; "
            "give them: Oban(engine, encryption=Encryption(keys=[…])), or configure_encryption([…])"
        )
    fernets = encryption._fernets()  # pyright: ignore[reportPrivateUsage]
    token: bytes = fernets.encrypt(f"{worker}\0{text}".encode())
    return f'{SEALED}"{token.decode()}"}}'


def unseal(names: Collection[str], token: str) -> str:
    """The text of which :func:`seal` made `token`.

    :param names: the names that the worker has, or had.
    :raises KeyMissing: when no key that counts here opens it, or it belongs to another worker.
    """
    what = f"what is encrypted for {min(names)!r}"
    encryption = current()
    if encryption is None:
        raise KeyMissing(
            f"{what}: this process has no keys; give them: Oban(engine, encryption=Encryption(keys=[…])), "
            "or configure_encryption([…])"
        )
    _, _, invalid = _fernet()
    try:
        opened: bytes = encryption._fernets().decrypt(token.encode())  # pyright: ignore[reportPrivateUsage]
    except invalid:
        raise KeyMissing(
            f"{what}: none of this process's keys opens it; give Encryption(keys=…) the key that encrypted it, too"
        ) from None
    except Exception as error:  # of the user's function, and a token that was cut off
        raise KeyMissing(f"{what}: the keys can't be had: {type(error).__name__}") from error
    name, _, text = opened.decode().partition("\0")
    if name not in names:
        raise KeyMissing(f"{what}: the token belongs to the worker {name!r}; another program has copied it")
    return text


def sealed_length(worker: str, text: str) -> int:
    """How long :func:`seal` makes `text`, in bytes."""
    blocks = (len(worker.encode()) + 1 + len(text.encode())) // 16 + 1
    return len(SEALED) + 3 + 4 * -(-(1 + 8 + 16 + 16 * blocks + 32) // 3)


def _checked(keys: object) -> tuple[bytes, ...]:
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
        raise InvalidOption(
            f"Encryption(keys): expected a list of Fernet keys, got {type(keys).__name__}; one key is a list of one"
        )
    single, _, _ = _fernet()
    checked: list[bytes] = []
    for number, key in enumerate(cast(Sequence[object], keys), 1):
        try:
            raw = key.encode() if isinstance(key, str) else cast(bytes, key)
            single(raw)
        except Exception:
            raise InvalidOption(
                f"Encryption(keys): key {number} is not a Fernet key, which is 32 bytes in URL-safe base64; "
                "cryptography.fernet.Fernet.generate_key() makes one"
            ) from None
        checked.append(raw)
    if not checked:
        raise InvalidOption("Encryption(keys): expected at least one key, got an empty list")
    return tuple(checked)


def _fernet() -> tuple[Any, Any, type[Exception]]:
    try:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet
    except ImportError as error:
        raise ImportError(
            "encrypted arguments need the package cryptography: pip install 'oban-sqla[encryption]'"
        ) from error
    return Fernet, MultiFernet, InvalidToken


__all__ = ["Encryption", "configure_encryption"]
