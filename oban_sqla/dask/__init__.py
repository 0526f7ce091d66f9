"""Jobs on a Dask cluster that is there already: ``Oban(…, executors={"dask": DaskExecutor(client)})``.

Belongs here: the executor that ships calls to Dask. Does not: what a call is and what
becomes of it.

Needs the extra ``dask``. A worker names it: ``@job(executor="dask")``, for plain functions that ask for no session.
"""

from .executor import DaskExecutor

__all__ = ["DaskExecutor"]
