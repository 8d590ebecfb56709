"""The line of an epoch fits the terminal."""

import pytest

from audio_lightning.training.history import epoch_lines

ROW = {
    "epoch": "100", "seconds": "123.456", "train/loss": "1.23456", "train/accuracy": "0.9876",
    "validation/loss": "12.3456", "validation/accuracy": "0.1234",
}  # fmt: skip


def test_a_line_has_every_metric_and_shorter_ones_fit_narrow_terminals() -> None:
    whole, brief, briefest = epoch_lines(ROW, "100/100")
    assert whole == (
        "epoch 100/100  train/loss 1.235  train/accuracy 0.988  "
        "validation/loss 12.346  validation/accuracy 0.123  123.5 s"
    )
    assert brief == "epoch 100/100  train loss 1.235 acc 0.988  val loss 12.346 acc 0.123  123.5 s"
    assert briefest == "100/100  val loss 12.346 acc 0.123"
    unvalidated = {name: value for name, value in ROW.items() if not name.startswith("validation")}
    assert epoch_lines(unvalidated, "1/2")[2] == "1/2  train loss 1.235 acc 0.988"


@pytest.mark.parametrize(("epochs", "width"), [("20/20", 80), ("100/100", 80)])
def test_a_usual_line_fits_eighty_columns(epochs: str, width: int) -> None:
    row = ROW | {"validation/loss": "1.2345", "seconds": "12.345"}
    assert any(len(line) <= width and "train loss" in line for line in epoch_lines(row, epochs))
