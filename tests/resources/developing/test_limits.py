"""An image that outlasts a limit of decoding ends in quarantine by the real stage, and spoils no neighbour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resources.decoding import DecodePool
from resources.postgres import StatusRow
from resources.settings import Settings
from tests.resources.developing.bronze_rows import DAY
from tests.resources.developing.stage import Stage, picture
from tests.resources.heavy_images import hungry_png, slow_png
from transforms.names import pseudonym
from transforms.reasons import Reason


@pytest.mark.alone
@pytest.mark.parametrize(
    ("low", "image", "reason", "sentence"),
    [
        pytest.param(
            {"decode_timeout_seconds": 0.2}, slow_png, Reason.DECODE_TIMEOUT, "stopped after 0.2 s", id="too slow"
        ),
        pytest.param(
            {"decode_memory_mb": 256}, hungry_png, Reason.DECODE_MEMORY, "more than the 256 MiB", id="too hungry"
        ),
    ],
)
def test_an_image_beyond_a_limit_of_decoding_is_quarantined_between_good_ones_and_developed_by_a_replay(
    tmp_path: Path, pool: DecodePool, low: dict[str, float], image: Callable[[], bytes], reason: Reason, sentence: str
) -> None:
    with DecodePool(Settings(decode_workers=1, **low)) as narrow:  # type: ignore[arg-type]
        stage = Stage(tmp_path, narrow)
        before = stage.bronze.sealed(picture(1))
        heavy = stage.bronze.sealed(image())
        after = stage.bronze.sealed(picture(2))
        stage.bronze.land()
        result = stage.develop()
        assert stage.develop().records == 0, "it is judged once, and holds up nothing"
    assert (result.processed, result.quarantined) == (2, {reason: 1})
    assert stage.processed()["id"].to_list() == [before, after]
    [row] = stage.quarantined().to_dicts()
    assert (row["id"], row["offset"], row["reason"]) == (heavy, 1, reason)
    assert sentence in row["detail"]
    assert row["pseudonym"] == pseudonym(stage.keys.platform_secret(), "ada", DAY)
    assert StatusRow(heavy, DAY, row["pseudonym"], "quarantined", reason) in stage.board.rows

    stage.pool = pool
    stage.replay(reason)
    assert stage.quarantined().height == 0
    assert stage.processed()["id"].to_list() == [before, heavy, after], "with the limits as they should be it is good"
