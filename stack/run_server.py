"""Dagster's code server, whose runs begin warm: `python -m stack.run_server`, with the options of `dagster api grpc`.

Dagster gives each run a fresh interpreter, which imports Dagster and the whole code location again; that was more than
half of what a small run costs. Here a process that has imported them once, and done nothing else, forks for each run
(multiprocessing's forkserver). It starts with the code server and ends with it and the last run. It has no connection,
and no thread but its own and the memory allocator's, which is made for forks. When it is killed its runs are told to
end, what they had committed stays, and the next run starts another.

Limits: code that was changed is run after the code server was started again. Memory that the imports took is shared
until it is written to. Dagster names the place where its processes come from `_mp_ctx`, which is private: a release
without it starts runs as Dagster does, and a test says so.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from stack.forked_runs import begin

if TYPE_CHECKING:
    from dagster._grpc.server import DagsterApiServer

PRELOADED = (
    "dagster._cli",
    "dagster._grpc.server",
    "stack.dagster_storage",
    "confluent_kafka.admin",
    "cryptography.x509",
    "deltalake",
    "obstore",
    "pandas",
    "pyarrow.compute",
    "pyarrow.fs",
    "pyarrow.parquet",
    "upath",
)
"""What every run imports besides the code location, most of it where it is first needed. Not polars: it starts a thread
when it is imported, and a fork would have its locks as they stand at that moment, and not the thread."""

_CONTEXT = "_mp_ctx"


def warm(server: type[DagsterApiServer], module: str) -> type[DagsterApiServer]:
    """A server as this one, whose runs are forked from a process that has imported the module of a code location.

    It also goes on looking for runs whose process is gone when it could not say so of one: Dagster's ends its looking
    with the first error, such as a database on a full disk, and what is not said to be over keeps its pools for hours.
    """

    class WarmServer(server):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            setattr(self, _CONTEXT, begin([*PRELOADED, module]))

        def _check_for_orphaned_runs(self) -> None:
            try:
                super()._check_for_orphaned_runs()
            except Exception as error:
                self._logger.warning("Runs whose process is gone were not looked after, and will be: %s", error)

    return WarmServer


def main() -> None:
    """Become the code server."""
    from dagster._cli import main as dagster
    from dagster._grpc import server

    module = sys.argv[sys.argv.index("--module-name") + 1]
    server.DagsterApiServer = warm(server.DagsterApiServer, module)
    sys.argv[:] = ["dagster", "api", "grpc", *sys.argv[1:]]
    dagster()


if __name__ == "__main__":
    main()
