"""Augmentation within a training: every choice works, and only training clips change."""

from pathlib import Path

import pandas as pd
import pytest
import tiny
import tiny_sources
import torch
import torch.nn.functional as F
from running import run

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import choices, compose, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask

MIXUP = ["+augment.pairs.mix._target_=audio_lightning.augment.mixup.Mixup", "+augment.pairs.mix.p=1.0"]
SPEECH = ["data=speech_commands", "data.task=12", "data.clip_seconds=0.1", "feature.hop_seconds=0.005"]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sources.write("speech_commands", tmp_path_factory.mktemp("speech") / "data")


@pytest.mark.parametrize("name", choices("augment"))
def test_every_choice_trains(name: str, speech: Path, tmp_path: Path) -> None:
    metrics = run(speech, tmp_path, *SPEECH, f"augment={name}", "trainer.max_epochs=2")
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["train/loss"].notna().all()
    assert metrics["epochs"] == 2


def test_augmentation_changes_training_but_not_evaluation(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    """Without a step of the optimizer, so that nothing but the clips could differ."""
    losses = []
    for name in ("none", "light"):
        run(tiny_urbansound8k, tmp_path / name, f"augment={name}", "optimizer.lr=0.0", "model.dropout=0.0",
            "model.batch_norm=false", "scheduler=none", "trainer.max_epochs=2")  # fmt: skip
        losses.append(pd.read_csv(tmp_path / name / "history.csv"))
    plain, changed = losses
    assert (plain["validation/loss"] == changed["validation/loss"]).all()
    assert plain["train/loss"][0] == pytest.approx(plain["train/loss"][1], rel=1e-6)
    assert abs(changed["train/loss"][0] - changed["train/loss"][1]) > 1e-5


def test_background_noise_needs_recordings(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"no noise recordings; set a folder of them by noise_dir=DIR"):
        run(tiny_urbansound8k, tmp_path / "none", "augment=speech")
    noise = tiny_urbansound8k / "audio/fold1"
    optional = ["augment=speech", "augment.waveform.background.required=false", "trainer.max_epochs=1"]
    assert run(tiny_urbansound8k, tmp_path / "without", *optional)["epochs"] == 1
    assert "no noise recordings; left out (set a folder of them by noise_dir=DIR)" in capsys.readouterr().out
    assert run(tiny_urbansound8k, tmp_path / "some", "augment=speech", f"noise_dir={noise}")["epochs"] == 4


def classifier(*overrides: str, multilabel: bool = False) -> AudioClassifier:
    from omegaconf import OmegaConf

    config = compose(quote_paths(["data=urbansound8k", "data.root=.", *tiny.TRAIN_OVERRIDES, *overrides]))
    plain = OmegaConf.to_container(config, resolve=True)
    task = AudioTask(("a", "b", "c"), 8000, 2000, multilabel=multilabel)
    made = AudioClassifier(plain, task.to_dict(), [1, 2, 3], 6)
    made.front_end.fit([torch.randn(4, 2000)])
    return made.train()


def test_mixed_targets_meet_mixed_clips() -> None:
    """With mixup of every clip, the loss is the weighted one of both targets."""
    torch.manual_seed(0)
    made = classifier(
        "+augment.pairs.mix._target_=audio_lightning.augment.mixup.Mixup",
        "+augment.pairs.mix.p=1.0",
        "loss.class_weights=balanced",
    )
    assert made.augmentation.mixes_targets
    batch = {"waveform": torch.randn(6, 2000), "target": torch.tensor([0, 1, 2, 0, 1, 2]), "clip": torch.arange(6)}
    logits, shares = made._augmented_logits(batch)
    assert shares.sum(dim=1).tolist() == pytest.approx([1.0] * 6)
    assert ((shares > 0).sum(dim=1) == 2).any(), "nothing was mixed"
    weights = made.class_weights
    losses = made.loss(logits, shares, weights)
    expected = -(shares * weights * F.log_softmax(logits, dim=1)).sum(dim=1)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(made.objective.mean(losses, shares, weights), losses.sum() / (shares * weights).sum())
    hard = F.one_hot(batch["target"], 3).float()
    torch.testing.assert_close(
        made.objective.mean(losses, batch["target"], weights), made.objective.mean(losses, hard, weights)
    )


def test_in_evaluation_nothing_is_mixed() -> None:
    made = classifier(*MIXUP).eval()
    batch = {"waveform": torch.randn(6, 2000), "target": torch.tensor([0, 1, 2, 0, 1, 2]), "clip": torch.arange(6)}
    logits, _ = made._augmented_logits(batch)
    torch.testing.assert_close(logits, made(batch["waveform"]))
