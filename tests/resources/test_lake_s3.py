"""The lake on an S3 server that misbehaves: no commit is lost, no table torn, and every refusal is a sentence."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from benchmarks._s3 import S3Server
from resources.failures import is_permanent
from resources.lake import CommitConflict, Lake, LakeUnavailable, open_lake
from resources.lake_check import check_lake
from resources.lake_failures import LakeDenied
from resources.lake_log import files_of
from resources.object_storage import Credentials, StorageRefused, storage_of
from resources.settings import Settings
from resources.upkeep import maintain
from tests.resources.test_lake import SMALL, numbers, stands
from tests.s3_faults import Relay, relay_to

DATA, COMMIT = r"/day%3D.*\.parquet", r"_delta_log/0+\d+\.json"


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with relay_to(s3_server) as relay:
        yield relay


@pytest.fixture
def lake(s3_server: S3Server, relay: Relay) -> Lake:
    """An empty lake behind the relay."""
    return relay.lake(s3_server.lake())


def files(lake: Lake, server: S3Server) -> int:
    """Data files that lie there, committed or not."""
    return len(list((server.data / lake.root.rpartition("/")[2]).rglob("*.parquet")))


@pytest.mark.parametrize("fault", ["slow down", "answer lost", "connection cut"])
def test_a_data_file_is_put_again_until_it_is_there(lake: Lake, relay: Relay, fault: str) -> None:
    handle = lake.ensure(SMALL)
    rule = relay.after("PUT", DATA, fault, times=2)
    lake.append(handle, SMALL, numbers(1, 2), {"a": 1})
    assert rule.met == 2
    assert stands(lake) == [1, 2]


@pytest.mark.parametrize("fault", ["slow down", "answer lost"])
def test_a_commit_whose_answer_is_lost_stands_once_with_its_files(
    lake: Lake, relay: Relay, s3_server: S3Server, fault: str
) -> None:
    """The store has the commit and says 503: the next try finds the name taken, by ourselves."""
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1), {"a": 1})
    rule = relay.after("PUT", COMMIT, fault)
    lake.append(handle, SMALL, numbers(2), {"a": 2})
    assert rule.met == 1
    assert (stands(lake), files(lake, s3_server)) == ([1, 2], 2)
    assert lake.identifier(handle, "a") == 2
    lake.append(handle, SMALL, numbers(3), {"a": 3})
    assert stands(lake) == [1, 2, 3]


def test_a_commit_whose_connection_is_cut_is_found_by_whoever_looks_again(lake: Lake, relay: Relay) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1), {"a": 1})
    rule = relay.after("PUT", COMMIT, "connection cut")
    try:
        lake.append(handle, SMALL, numbers(2), {"a": 2})
    except (CommitConflict, LakeUnavailable):
        # What every writer here does: open, look at the identifiers, and go on from there.
        handle = lake.open(SMALL.name)
    assert rule.met == 1
    assert (lake.identifier(handle, "a"), stands(lake)) == (2, [1, 2])


def test_of_two_committers_at_once_one_wins_and_the_other_leaves_no_file(
    lake: Lake, relay: Relay, s3_server: S3Server
) -> None:
    lake.ensure(SMALL)
    ready, outcomes = threading.Barrier(2), []

    def commit(value: int) -> None:
        handle = lake.open(SMALL.name)
        ready.wait(30)
        try:
            lake.append(handle, SMALL, numbers(value), {"a": 1})
            outcomes.append(value)
        except CommitConflict:
            outcomes.append(None)

    threads = [threading.Thread(target=commit, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (winner,) = [value for value in outcomes if value is not None]
    assert outcomes.count(None) == 1
    assert (stands(lake), files(lake, s3_server)) == ([winner], 1)


def test_an_answer_that_is_cut_short_is_read_again_or_fails_and_never_gives_half_a_table(
    lake: Lake, relay: Relay
) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(*range(5000)), {"a": 1})
    rule = relay.after("GET", DATA, "body cut short")
    with lake.reading(SMALL.name) as (filesystem, folder):
        (path,) = [row["path"] for row in files_of(handle)]
        try:
            assert pq.read_table(f"{folder}/{path}", filesystem=filesystem).num_rows == 5000
        except (LakeUnavailable, OSError):
            assert pq.read_table(f"{folder}/{path}", filesystem=filesystem).num_rows == 5000
    assert rule.met == 1
    relay.after("GET", DATA, "body cut short")
    try:
        assert pl.scan_delta(handle).collect().height == 5000
    except (pl.exceptions.PolarsError, OSError):
        assert pl.scan_delta(handle).collect().height == 5000


def test_a_server_that_is_killed_between_two_commits_has_both(s3_server: S3Server) -> None:
    lake = s3_server.lake()
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1), {"a": 1})
    s3_server.stop(signal.SIGKILL)
    began = threading.Timer(1.0, s3_server.start)
    began.start()
    lake.append(handle, SMALL, numbers(2), {"a": 2})
    began.join()
    assert stands(lake) == [1, 2]


def test_upkeep_works_on_s3(s3_server: S3Server) -> None:
    lake = s3_server.lake()
    handle = lake.ensure(SMALL)
    for value in range(4):
        lake.append(handle, SMALL, numbers(value), {"a": value})
    done = maintain(lake, SMALL, keep_hours=0)
    assert done is not None
    assert (done.files_after, files(lake, s3_server) - 1) == (1, 1), "the file, and a checkpoint"
    assert stands(lake) == [0, 1, 2, 3]


def test_refusals_are_permanent_and_say_what_to_do(s3_server: S3Server, lake: Lake, relay: Relay) -> None:
    storage = s3_server.storage
    stranger = replace(storage, root="s3://darkroom/x", credentials=Credentials("NOBODY", "nothing"))
    with pytest.raises(LakeDenied, match=r"InvalidAccessKeyId.*s3_credentials") as caught:
        Lake(stranger.root, stranger).open("a/b")
    assert is_permanent(caught.value)
    elsewhere = replace(storage, root="s3://nobodys/x")
    with pytest.raises(LakeDenied, match=r"NoSuchBucket.*is `lake` right"):
        Lake(elsewhere.root, elsewhere).ensure(SMALL)
    handle = lake.ensure(SMALL)
    relay.after("PUT", DATA, "denied", times=99)
    with pytest.raises(LakeDenied, match=r"write a file.*AccessDenied.*who owns the bucket"):
        lake.append(handle, SMALL, numbers(1))
    relay.rules.clear()
    assert lake.open(SMALL.name).version() == 0


def test_no_error_and_no_representation_shows_the_secret(s3_server: S3Server) -> None:
    storage = s3_server.storage
    assert storage.credentials is not None
    assert storage.credentials.secret not in repr(storage)
    wrong = replace(storage, root="s3://nobodys/x")
    with pytest.raises(LakeDenied) as caught:
        Lake(wrong.root, wrong).ensure(SMALL)
    assert storage.credentials.secret not in str(caught.value) + str(caught.value.__cause__)


def test_the_storage_is_tried_with_one_object_which_goes_again(s3_server: S3Server) -> None:
    settings = s3_server.settings()
    assert check_lake(settings).kms_key is None
    left = (s3_server.data / settings.lake.rpartition("/")[2]).rglob("*")
    assert [path for path in left if path.is_file()] == []
    with pytest.raises(LakeDenied, match=r"NotImplemented.*s3_kms_key"):
        check_lake(s3_server.settings(s3_kms_key="arn:aws:kms:us-east-1:000000000000:key/none"))


def test_settings_that_cannot_be_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match=r"'ftp'. Valid ones: a folder, s3://, s3a://, az://, gs://"):
        storage_of(Settings(lake="ftp://x/y"))
    with pytest.raises(StorageRefused, match="names no bucket"):
        storage_of(Settings(lake="s3:///y"))
    with pytest.raises(StorageRefused, match="cannot be read"):
        storage_of(Settings(lake="s3://x/y", s3_credentials=tmp_path / "none"))
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = A\nTHE-SECRET without its name\n")
    with pytest.raises(StorageRefused, match="needs a section") as caught:
        open_lake(Settings(lake="s3://x/y", s3_credentials=file))
    assert "THE-SECRET" not in str(caught.value)
