"""Failures of the platform, told to Dagster.

Rests on `dagster.Failure(allow_retries=False)`, which stops a step's retries, and on the tag `dagster/max_retries`,
which run retries read (they read tags, not exceptions). A transient failure is raised as it is, so that the step's
RetryPolicy applies. Metadata carries the same facts as the sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from resources.failures import PlatformFailure, first_line, is_permanent

Context = dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext

RETRY = dg.RetryPolicy(max_retries=2, delay=1.5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what goes away by itself within seconds: another writer's commit, a broker that restarts. Longer outages fail
the run, and the sensor asks again with its own, longer back-off."""


@contextmanager
def told_to_dagster(context: Context) -> Iterator[None]:
    """Turn a failure of the platform into a Failure with its facts as metadata; permanent ones are not retried.

    Raises:
        dagster.Failure: for every PlatformFailure; other exceptions pass as they are.
    """
    try:
        yield
    except PlatformFailure as failure:
        permanent = is_permanent(failure)
        if permanent:
            context.instance.add_run_tags(context.run.run_id, {"dagster/max_retries": "0"})
        metadata = {
            name: value if isinstance(value, int | float) else str(value) for name, value in failure.facts.items()
        }
        raise dg.Failure(
            description=str(failure),
            metadata={"failure": type(failure).__name__, "summary": first_line(failure), **metadata},
            allow_retries=not permanent,
        ) from failure
