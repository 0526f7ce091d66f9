"""Find what slows or endangers jobs: ``await examine(engine)``, the checks of ``oban-sqla doctor``."""

from .insight.doctor import Finding, examine

__all__ = ["Finding", "examine"]

if __name__ == "__main__":
    raise SystemExit("the doctor is a command: oban-sqla doctor, or python -m oban_sqla doctor")
