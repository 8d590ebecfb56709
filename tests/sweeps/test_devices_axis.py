"""Trials on several devices, in one sweep with trials on one."""

from pathlib import Path

import pytest
from sweeping import results, states, sweep, trials


@pytest.mark.full
def test_the_number_of_devices_is_an_axis(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["trainer.devices=1,2", "trainer.accelerator=cpu", "trainer.strategy=ddp", "data.batch_size=2"]
    assert sweep(tiny_urbansound8k, tmp_path / "sweep", *line) == 0
    assert states(tmp_path / "sweep") == {"1": "done", "2": "done"}
    found = trials(tmp_path / "sweep")
    assert len({folder.path for folder, _ in found.values()}) == 2
    one, two = results(tmp_path / "sweep").values()
    assert (one["devices"], two["devices"]) == (1, 2)
    for part in ("train", "validation", "test"):
        assert one[f"num_clips/{part}"] == two[f"num_clips/{part}"]
    for folder, _ in found.values():
        predictions = (folder.path / "predictions.csv").read_text().splitlines()
        assert len(predictions) == 1 + one["num_clips/test"]
        assert len({line.split(",")[0] for line in predictions[1:]}) == one["num_clips/test"]
