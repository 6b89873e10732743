"""What MLflow's client raises, under the registry's names: away, refused, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from resources.failures import first_line
from resources.registry import RegistryAway, RegistryRefused

_MISSING = "RESOURCE_DOES_NOT_EXIST"
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")


@contextmanager
def named(url: str, what: str) -> Iterator[None]:
    """Give MLflow's errors our names inside the block.

    Args:
        url: of the server.
        what: what was tried, as in "tried to ...".

    Raises:
        RegistryAway, RegistryRefused: in the place of MlflowException, and of what its HTTP client raises.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        if getattr(error, "error_code", "") in _REFUSED:
            raise RegistryRefused(
                f"MLflow at {url} refused: tried to {what}, got {first_line(error)}", {"url": url}
            ) from error
        raise RegistryAway(
            f"MLflow at {url} did not do it: tried to {what}, got {first_line(error)} "
            "`darkroom status` shows whether it runs, `darkroom logs mlflow` why not. Images are taken and "
            "developed all the same.",
            {"url": url},
        ) from error


def is_missing(error: Exception) -> bool:
    """Whether MLflow said that there is no such thing; its errors wrap those of its HTTP client."""
    seen: BaseException | None = error
    while seen is not None:
        if (
            getattr(seen, "error_code", "") == _MISSING
            or getattr(getattr(seen, "response", None), "status_code", 0) == 404
        ):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
