"""Parts of sentences: lengths of time, sizes, numbers, and lists of names."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import closest


def span(seconds: float) -> str:
    """A length of time: ``31 ms``, ``0.4 s``, ``1 min 30 s``, ``38 min``, ``4 h 30 min``, ``3 days``.

    A negative one, which the clocks of two machines may give, is shown as 0.
    """
    seconds = max(seconds, 0.0)
    if seconds < 0.0995:
        return f"{round(seconds * 1_000)} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return _two(whole, "min", "s")
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if seconds < 2 * 86_400:
        return _two(minutes, "h", "min")
    return f"{round(seconds / 86_400)} days"


def _two(count: int, unit: str, less: str) -> str:
    some, rest = divmod(count, 60)
    return f"{some} {unit} {rest} {less}" if rest else f"{some} {unit}"


def room(size: float) -> str:
    """A number of bytes: ``8.2 MB``."""
    for unit in ("kB", "MB"):
        size /= 1024
        if size < 1024:
            return _rounded(size, unit)
    return _rounded(size / 1024, "GB")


def _rounded(size: float, unit: str) -> str:
    return f"{size:,.1f} {unit}" if size < 10 else f"{size:,.0f} {unit}"


def counted(number: int, most: int) -> str:
    """A number: ``1,200``; ``1,000 or more`` when counting stopped at `most`."""
    return f"{number:,} or more" if number >= most else f"{number:,}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """The names in order, at most `most` of them: ``a, b and 3 more``; ``(none)`` when there is none."""
    every = sorted(set(names))
    if not every:
        return "(none)"
    beyond = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + beyond


def meant(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'media'?`` when one of `known` is similar to `name`, else nothing."""
    near = closest(name, known)
    return f"; did you mean {near!r}?" if near and near != name else ""


def chain_words(key: str) -> str:
    """The key of a chain for people: ``args.account_id [7]``."""
    by = key.split("|")[1] if key.count("|") >= 2 else key
    return f"{by} {key.split('|', 3)[-1]}"
