"""``steps.csv`` of a resumed run."""

from pathlib import Path

from audio_lightning.loggers.loggers import StepLogger


def test_rows_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    first = StepLogger(str(tmp_path))
    first.log_metrics({"train/step_loss": 3.0, "epoch": 0}, step=9)
    first.log_metrics({"train/loss": 2.5, "epoch": 0}, step=10)
    first.log_metrics({"train/step_loss": 9.0, "epoch": 1}, step=10)
    again = StepLogger(str(tmp_path))
    again.log_metrics({"train/step_loss": 2.0, "epoch": 1}, step=10)
    again.log_metrics({"train/loss": 1.5, "epoch": 1}, step=20)
    assert (tmp_path / "steps.csv").read_text().splitlines() == [
        "step,epoch,name,value",
        "9,1,train/step_loss,3.0",
        "10,1,train/loss,2.5",
        "10,2,train/step_loss,2.0",
        "20,2,train/loss,1.5",
    ]
