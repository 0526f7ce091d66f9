"""Find what slows or endangers jobs: ``await examine(engine)``, the checks of ``oban-sqla doctor``."""

from .insight.doctor import Finding, examine

__all__ = ["Finding", "examine"]
