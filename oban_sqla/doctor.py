"""What slows or endangers the queue: ``await examine(engine)``, as ``oban-sqla doctor`` does. See :func:`examine`."""

from .insight.doctor import Finding, examine

__all__ = ["Finding", "examine"]
