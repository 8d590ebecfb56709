"""Embeddings of pretrained networks are computed before the trainings of a fit."""

from typing import Any

import pytest

from audio_lightning.fit import embedding
from audio_lightning.fit.embedding import embed_all, embed_frozen
from audio_lightning.fit.survey import Machine, Survey, Surveyed
from audio_lightning.fit.timing import Untimed

CANDIDATES = {"both": Untimed({}, {}), "frozen": Untimed({"of": "frozen"}, {}, frozen=True)}


@pytest.mark.parametrize(("left", "embeds"), [(1000.0, True), (100.0, False)])
def test_embedding_needs_time(left: float, embeds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = {
        name: Surveyed(name, 0.1, 40, predict_seconds=0.05, frozen=one.frozen) for name, one in CANDIDATES.items()
    }
    found = Survey([], [], Machine("CPU", 2, 8.0), candidates, [[]], "made", ["a", "b"], False, 800, 800, None, [])
    called: list[Any] = []
    monkeypatch.setattr(embedding, "call", lambda *arguments: called.append(arguments))
    after = embed_frozen(found, CANDIDATES, left)
    assert called == ([(embed_all, {"of": "frozen"})] if embeds else [])
    why = None if embeds else "embedding the clips would take about 40 s of 2 min"
    assert after.candidates["frozen"].impossible == why
    assert after.candidates["both"] == candidates["both"]
