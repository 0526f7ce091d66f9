"""Parts of sentences: lengths of time, sizes, and lists of names."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import closest

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def span(seconds: float) -> str:
    """A length of time in its two largest units, such as ``1d 3h`` or ``0.25s``.

    It is 0 when below 0, as between the clocks of two machines; of a short one, a tenth of a millisecond is the least.
    """
    if seconds < 10:
        return f"{round(max(seconds, 0.0), 4):.2g}s"
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0")) or "0s"


def room(size: float) -> str:
    """So many bytes, such as ``8.2 MB``."""
    for unit in ("kB", "MB"):
        size /= 1024
        if size < 1024:
            return _rounded(size, unit)
    return _rounded(size / 1024, "GB")


def _rounded(size: float, unit: str) -> str:
    return f"{size:,.1f} {unit}" if size < 10 else f"{size:,.0f} {unit}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """The names in order, at most so many of them: ``a, b and 3 more``; ``(none)`` when there is none."""
    every = sorted(set(names))
    if not every:
        return "(none)"
    beyond = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + beyond


def meant(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'media'?`` when one of `known` is like `name`, else nothing."""
    near = closest(name, known)
    return f"; did you mean {near!r}?" if near and near != name else ""


def chain_words(key: str) -> str:
    """Of which chain this is the key, for people: ``args.account_id [7]``."""
    by = key.split("|")[1] if key.count("|") >= 2 else key
    return f"{by} {key.split('|', 3)[-1]}"
