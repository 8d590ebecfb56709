"""Pruning of trials of a search."""

from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from audio_lightning.sweeps.grid import parse_grid
from audio_lightning.sweeps.search.pruning import Pruning
from audio_lightning.sweeps.search.search import Search
from audio_lightning.sweeps.search.settings import SearchSettings

optuna = pytest.importorskip("optuna")

EPOCHS = 8


@pytest.fixture
def study(tmp_path):
    """Study with six finished trials."""
    found = Search(
        parse_grid(["k=interval(0,1)"]),
        settings=SearchSettings(pruner="median"),
        trials=9,
        storage=f"journal://{tmp_path}/study.log",
        study_name="test",
        objectives=[("validation/accuracy", "maximize")],
        folder=tmp_path,
    )
    for _ in range(6):
        asked = found.ask()
        follow(asked.link, [0.9] * EPOCHS)
        found.tell(asked.number, "done", {"validation/accuracy": 0.9})
    return found


def follow(link: dict, values: list[float], *, start: int = 0) -> None:
    """Call the callback as a trainer does at the end of each epoch."""
    callback = Pruning(**link)
    for epoch, value in enumerate(values, start=start):
        trainer = SimpleNamespace(
            sanity_checking=False,
            callback_metrics={"validation/accuracy": torch.tensor(value)},
            current_epoch=epoch,
            is_global_zero=True,
        )
        callback.on_validation_end(trainer, None)


class Constant(pl.LightningModule):
    """A module whose accuracy is always the same."""

    def __init__(self, accuracy: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.accuracy = accuracy
        self.epochs = 0

    def training_step(self, batch):
        return self.weight * batch.sum()

    def validation_step(self, batch):
        self.log("validation/accuracy", self.accuracy, batch_size=1)

    def on_train_epoch_end(self):
        self.epochs += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(link: dict, accuracy: float, folder) -> Constant:
    module = Constant(accuracy)
    clips = DataLoader(torch.ones(2, 1))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=EPOCHS,
        callbacks=[Pruning(**link)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    try:
        trainer.fit(module, clips, clips)
    except optuna.TrialPruned:
        return module
    assert module.epochs == EPOCHS
    return module


@pytest.mark.filterwarnings("ignore")
def test_a_bad_trial_is_pruned_and_a_good_one_is_not(study, tmp_path):
    good, bad = study.ask(), study.ask()
    assert train(good.link, 0.95, tmp_path).epochs == EPOCHS
    assert train(bad.link, 0.1, tmp_path).epochs < EPOCHS
    study.tell(bad.number, "pruned", {})
    reported = study._study.trials
    assert list(reported[good.number].intermediate_values) == list(range(EPOCHS))
    assert reported[bad.number].state.name == "PRUNED"


@pytest.mark.filterwarnings("error")
def test_an_epoch_is_reported_once(study):
    asked = study.ask()
    follow(asked.link, [0.91, 0.92])
    follow(asked.link, [0.5, 0.93], start=1)  # the interrupted epoch comes again
    assert study._study.trials[asked.number].intermediate_values == pytest.approx({0: 0.91, 1: 0.92, 2: 0.93})


def test_without_a_pruner_there_is_no_link(tmp_path):
    found = Search(
        parse_grid(["k=interval(0,1)"]),
        settings=SearchSettings(),
        trials=1,
        storage=f"journal://{tmp_path}/study.log",
        study_name="test",
        objectives=[("validation/accuracy", "maximize")],
        folder=tmp_path,
    )
    assert found.ask().link == {}
