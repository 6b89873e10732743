"""The lake on Azure's blob storage: every promise that it keeps in a folder and on S3, on Azurite."""

from __future__ import annotations

import inspect
import shutil
import uuid
from collections.abc import Callable, Iterator

import polars as pl
import pytest

from resources.lake import Lake
from resources.lake_check import check_lake
from resources.object_storage import Storage
from resources.settings import Settings
from resources.upkeep import maintain
from tests.azurite import CONTAINER, SERVER, azurite
from tests.resources import test_lake, test_lake_columns

pytestmark = pytest.mark.skipif(
    not SERVER.is_file() or shutil.which("node") is None,
    reason="Azurite is not installed: `make azurite` does so where npm is; runs where it is",
)


def promises() -> Iterator[Callable[[Lake], None]]:
    """Tests of the lake that need nothing but a lake."""
    for module in (test_lake, test_lake_columns):
        for name, function in vars(module).items():
            if name.startswith("test_") and list(inspect.signature(function).parameters) == ["lake"]:
                yield function


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with azurite() as url:
        yield url


@pytest.fixture
def lake(server: str) -> Lake:
    """An empty lake in the container."""
    root = f"az://{CONTAINER}/{uuid.uuid4().hex}"
    return Lake(root, Storage(root))


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise.__name__.removeprefix("test_"))
def test_the_lake_keeps_its_promises_on_azure(lake: Lake, promise: Callable[[Lake], None]) -> None:
    promise(lake)


def test_the_storage_is_fit_and_upkeep_works(lake: Lake) -> None:
    assert check_lake(Settings(lake=lake.root)).root == lake.root
    handle = lake.ensure(test_lake.SMALL)
    for value in range(4):
        lake.append(handle, test_lake.SMALL, test_lake.numbers(value), {"a": value})
    done = maintain(lake, test_lake.SMALL, keep_hours=0)
    assert done is not None
    assert (done.files_before, done.files_after) == (4, 1)
    assert test_lake.stands(lake) == [0, 1, 2, 3]
    assert pl.scan_delta(lake.open(test_lake.SMALL.name)).select(pl.len()).collect().item() == 4
