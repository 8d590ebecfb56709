"""Refit of ensemble members on all recordings."""

from pathlib import Path
from typing import Any

import pytest
from sweep_folders import make_sweep, trial

from audio_lightning.compare.trials import TrialFolder
from audio_lightning.config import compose
from audio_lightning.core.files import write_json
from audio_lightning.fit.budget import Allocation, Workers
from audio_lightning.fit.refitting import plan_again, refitted, share_of_refit
from audio_lightning.fit.state import Training

STEPS = {"both": 0.5, "quick": 0.1}


def test_the_refit_takes_a_share_of_the_time() -> None:
    one = share_of_refit(Allocation(("both",), 1, 1, 500), STEPS, workers=Workers(1), folds=8)
    assert one == pytest.approx((8 / 6) / (1 + 8 / 6))
    folds = share_of_refit(Allocation(("both",), 1, 8, 500), STEPS, workers=Workers(1), folds=8)
    assert folds == pytest.approx((8 / 6) / (8 + 8 / 6))
    idle = share_of_refit(Allocation(("both",), 1, 8, 500), STEPS, workers=Workers(2), folds=8)
    assert idle == pytest.approx((16 / 6) / (8 + 16 / 6))  # the second worker has nothing to do


def runs(folder: Path, scheduler: str, *metrics: dict[str, Any]) -> list[TrialFolder]:
    sweep = make_sweep(folder, [trial(seed=number) for number in range(len(metrics))])
    found = [place for place, _ in sweep.folders()]
    for place, values in zip(found, metrics):
        write_json(place.metrics, values)
        place.write_config(compose([f"scheduler={scheduler}"]))
        status = place.read_status()
        status.seconds = 30.0
        place.write_status(status)
    return found


CLIPS = {"num_clips/train": 60, "num_clips/validation": 20, "num_clips/test": 40}


def test_epochs_of_a_refit_depend_on_the_schedule(tmp_path: Path) -> None:
    metrics = [{"epochs": 30, "best_epoch": best, **CLIPS} for best in (10, 20, 12)]
    annealed = plan_again(runs(tmp_path / "a", "cosine", *metrics))
    assert (annealed.epochs, annealed.seconds) == (30, pytest.approx(60))
    plateau = plan_again(runs(tmp_path / "b", "plateau", *metrics))
    assert (plateau.epochs, plateau.seconds) == (12, pytest.approx(60 * 12 / 30))


@pytest.mark.parametrize(
    ("epochs", "finished", "said"),
    [
        (4, True, "both: 4 epochs"),
        (3, True, "both had time for 3 epochs only"),
        (4, False, "both failed (out of memory)"),
    ],
)
def test_partial_refits_are_discarded(tmp_path: Path, epochs: int, finished: bool, said: str) -> None:
    planned = [Training("both", None, ["trainer.max_epochs=4"])]
    (run,) = runs(tmp_path, "cosine", {"epochs": epochs, **CLIPS})
    found = {"both": [run]} if finished else {}
    models, text = refitted(planned, found, {"both": "out of memory"})
    assert said in text
    assert models == ({"both": str(run.best)} if epochs == 4 and finished else {})
