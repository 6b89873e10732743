"""Two developers that judge one record differently: an image that one of them made stays an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from resources.developing import Developer
from tests.resources.developing.stage import LATER, Stage, beside, picture
from transforms.images import Developed, Rejected
from transforms.reasons import Reason


class _Late:
    """Stands in for decoding on a starved machine: every image ran out of time."""

    def map(self, images: Iterable[bytes | memoryview]) -> Iterator[Developed | Rejected]:
        for _ in images:
            yield Rejected(Reason.DECODE_TIMEOUT, "too late")


def test_a_record_refused_for_too_little_time_is_not_quarantined_once_another_made_an_image_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    beside(stage, monkeypatch, "add_quarantined", lambda: stage.develop())
    starved = Developer(stage.settings, stage.lake, stage.keys, stage.board, _Late(), now=lambda: LATER)
    result = starved.develop()
    assert (result.processed, result.quarantined) == (0, {})
    assert stage.processed().height == 1
    assert stage.quarantined().is_empty()
