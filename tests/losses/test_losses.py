"""Losses: every loss of torch.nn for logits and labels, class weights, smoothing, soft targets, multi-label clips."""

import sys
from pathlib import Path
from typing import Any

import choices
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from running import run
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import check_config, compose
from audio_lightning.config import choices as names
from audio_lightning.config.trust import trusting
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.losses.focal import FocalLoss
from audio_lightning.losses.training_loss import FORMS, UNSUITABLE, TrainingLoss

NAMES = sorted(name for name, cls in vars(nn).items() if isinstance(cls, type) and issubclass(cls, _Loss))
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0], [-0.5, 0.2, 0.1]])
INDICES = torch.tensor([0, 2, 1])
SHARES = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]])
LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
WEIGHTS = torch.tensor([0.5, 2.0, 1.5])
ONES = torch.ones(3)


def task(*, multilabel: bool = False) -> AudioTask:
    return AudioTask(("a", "b", "c"), 8000, 2000, multilabel=multilabel)


def made(target: str | None = None, *, multilabel: bool = False, mixed: bool = False, **keys: Any) -> TrainingLoss:
    node = {"_target_": target, "class_weights": "none", "label_smoothing": 0.0, **keys}
    return TrainingLoss(node, task(multilabel=multilabel), mixed=mixed)


def test_every_loss_of_torch_is_supported_or_rejected_with_a_reason() -> None:
    assert {*FORMS} <= set(NAMES) <= {*FORMS, *UNSUITABLE}
    assert not {*FORMS} & {*UNSUITABLE}


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("name", sorted(FORMS))
def test_supported_losses_of_torch_learn_the_labels(name: str, multilabel: bool) -> None:
    if multilabel and not FORMS[name].multilabel:
        with pytest.raises(ConfigError, match=f"loss: {name} takes one label per clip"):
            made(f"torch.nn.{name}", multilabel=True)
        return
    loss = made(f"torch.nn.{name}", multilabel=multilabel, _partial_=True)
    logits, target = torch.zeros(3, 3, requires_grad=True), LABELS if multilabel else INDICES
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        losses = loss(logits, target, ONES)
        assert losses.shape == (3,)
        optimizer.zero_grad()
        loss.mean(losses, target, ONES).backward()
        optimizer.step()
    wanted = F.one_hot(INDICES, 3).bool() if not multilabel else LABELS.bool()
    for clip, right in zip(logits.detach(), wanted, strict=True):
        assert not right.any() or right.all() or clip[right].min() > clip[~right].max()


@pytest.mark.parametrize("multilabel", [False, True], ids=["one label", "several labels"])
@pytest.mark.parametrize("name", names("loss"))
def test_every_choice_learns_the_labels_and_stays_finite(name: str, multilabel: bool) -> None:
    """Every YAML in conf/loss, for single-label or multi-label clips; the other task may be rejected."""
    node = choices.load("loss", name)
    try:
        loss = TrainingLoss(node, task(multilabel=multilabel))
    except ConfigError:
        TrainingLoss(node, task(multilabel=not multilabel))
        return
    target = LABELS if multilabel else INDICES
    alone = [loss(LOGITS[clip : clip + 1], target[clip : clip + 1], ONES) for clip in range(3)]
    torch.testing.assert_close(loss(LOGITS, target, ONES), torch.cat(alone))

    logits = torch.zeros(3, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    before = loss(logits, target, ONES).detach()
    for _ in range(100):
        optimizer.zero_grad()
        loss(logits, target, ONES).sum().backward()
        optimizer.step()
    assert (loss(logits, target, ONES) < before).all()
    learned = (logits > 0).float() if multilabel else logits.argmax(dim=1)
    assert torch.equal(learned, target)

    for size in (0.0, 100.0, 1e4):
        extreme = (size * LOGITS).requires_grad_()
        losses = loss(extreme, target, ONES)
        losses.sum().backward()
        assert losses.isfinite().all()
        assert extreme.grad is not None
        assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted({*UNSUITABLE} & {*NAMES}))  # some are of later versions of torch
def test_unsuitable_losses_are_rejected_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"loss\._target_=torch\.nn\.{name} cannot be used: it "):
        made(f"torch.nn.{name}")


@pytest.mark.parametrize(
    "target",
    ["torch.nn.Linear", "torch.nn.AdaptiveLogSoftmaxWithLoss", "torch.nn.Module", "torch.nn.init.zeros_", "torch.load",
     "torch.nn.functional.cross_entropy", "torch.hub.load", "torch.optim.SGD", "torch.nn.modules.loss._Loss",
     "audio_lightning.losses.training_loss.F", "audio_lightning.losses.training_loss.TrainingLoss"],
)  # fmt: skip
def test_targets_that_are_not_losses_are_rejected(target: str) -> None:
    with pytest.raises(ConfigError, match=r"^loss"):
        made(target)


def test_the_default_is_cross_entropy_of_the_task() -> None:
    for target in (INDICES, SHARES):
        found = made(class_weights="balanced", label_smoothing=0.1, mixed=True)(LOGITS, target, WEIGHTS)
        assert torch.equal(found, F.cross_entropy(LOGITS, target, WEIGHTS, reduction="none", label_smoothing=0.1))
    found = made(multilabel=True, class_weights="balanced", label_smoothing=0.1)(LOGITS, LABELS, WEIGHTS)
    smoothed = LABELS * 0.9 + 0.05
    wanted = F.binary_cross_entropy_with_logits(LOGITS, smoothed, pos_weight=WEIGHTS, reduction="none").mean(dim=1)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["FocalLoss", "MSELoss", "BCEWithLogitsLoss", "MultiMarginLoss"])
def test_class_weights_scale_the_loss_of_clips(name: str) -> None:
    target = "audio_lightning.losses.focal.FocalLoss" if name == "FocalLoss" else f"torch.nn.{name}"
    plain, weighted = made(target), made(target, class_weights="balanced")
    torch.testing.assert_close(weighted(LOGITS, INDICES, WEIGHTS), plain(LOGITS, INDICES, ONES) * WEIGHTS[INDICES])


def test_class_weights_scale_the_positives_of_multilabel_clips() -> None:
    """As ``pos_weight`` does, also for losses without that argument."""
    weighted = made("audio_lightning.losses.focal.FocalLoss", multilabel=True, class_weights="balanced", gamma=0.0)
    auto = made(multilabel=True, class_weights="balanced")
    torch.testing.assert_close(weighted(LOGITS, LABELS, WEIGHTS), auto(LOGITS, LABELS, WEIGHTS))


def test_label_smoothing_and_mixing_change_the_target() -> None:
    found = made("torch.nn.MSELoss", label_smoothing=0.3, mixed=True)(LOGITS, SHARES, ONES)
    torch.testing.assert_close(found, F.mse_loss(LOGITS, SHARES * 0.7 + 0.1, reduction="none").mean(dim=1))


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    torch.testing.assert_close(FocalLoss(0.0)(LOGITS, INDICES), F.cross_entropy(LOGITS, INDICES, reduction="none"))
    torch.testing.assert_close(FocalLoss(0.0)(LOGITS, SHARES), F.cross_entropy(LOGITS, SHARES, reduction="none"))
    torch.testing.assert_close(
        FocalLoss(0.0, multilabel=True)(LOGITS, LABELS),
        F.binary_cross_entropy_with_logits(LOGITS, LABELS, reduction="none"),
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_weighted_by_one_minus_the_probability(gamma: float) -> None:
    right = LOGITS.softmax(dim=1).gather(1, INDICES[:, None])[:, 0]
    torch.testing.assert_close(FocalLoss(gamma)(LOGITS, INDICES), -((1 - right) ** gamma) * right.log())
    right = torch.where(LABELS > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    torch.testing.assert_close(FocalLoss(gamma, multilabel=True)(LOGITS, LABELS), -((1 - right) ** gamma) * right.log())
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)
    FocalLoss(gamma)(sure, torch.tensor([0])).sum().backward()
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()


@pytest.mark.parametrize(
    ("target", "keys", "message"),
    [
        ("torch.nn.MultiMarginLoss", {"mixed": True}, "takes whole labels, and augment mixes the labels of clips"),
        ("torch.nn.SoftMarginLoss", {"label_smoothing": 0.1}, "takes whole labels, and loss.label_smoothing spreads"),
        ("torch.nn.MultiLabelSoftMarginLoss", {"multilabel": True, "class_weights": "balanced"},
         "does not return a loss for each class"),
        ("torch.nn.MultiMarginLoss", {"p": 3}, "MultiMarginLoss refuses its arguments: only p == 1 and p == 2"),
        ("torch.nn.MSELoss", {"reduction": "sum"}, "loss has no argument reduction"),
        ("torch.nn.CrossEntropyLoss", {"weight": [1.0, 2.0]}, "cannot be computed from logits and labels: "),
        ("torch.nn.CrossEntropyLoss", {"weight": [1.0, 2.0, 3.0], "class_weights": "balanced"},
         "class weights are given twice"),
        ("torch.nn.CrossEntropyLoss", {"weight": ["x"]}, "expected a list of numbers"),
        ("audio_lightning.losses.focal.FocalLoss", {"gamma": -1.0}, "gamma must be at least 0"),
    ],
)  # fmt: skip
def test_invalid_combinations_are_rejected_with_the_reason(target: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(target, **keys)


def test_a_node_without_the_options_of_all_losses_names_the_file_that_has_them() -> None:
    node = {"_target_": "torch.nn.CrossEntropyLoss"}
    with pytest.raises(ConfigError, match=r"loss\.class_weights: missing; add `- _options` to the `defaults`"):
        TrainingLoss(node, AudioTask(("a", "b"), 8000, 8000), mixed=False)


def test_class_weights_may_be_a_list() -> None:
    found = made("torch.nn.CrossEntropyLoss", weight=[0.5, 2.0, 1.5])(LOGITS, INDICES, ONES)
    torch.testing.assert_close(found, F.cross_entropy(LOGITS, INDICES, WEIGHTS, reduction="none"))


def test_loss_of_a_trusted_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_losses.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Module):\n"
        "    def __init__(self, power: float = 1.0) -> None:\n"
        "        super().__init__()\n"
        "        self.power = power\n"
        "    def forward(self, logits, target):\n"
        "        return nn.functional.cross_entropy(logits, target, reduction='none') ** self.power\n"
        "class Mean(Mine):\n"
        "    def forward(self, logits, target):\n"
        "        return super().forward(logits, target).mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="trust=my_losses"):
        made("my_losses.Mine")
    try:
        with trusting("my_losses"):
            found: Tensor = made("my_losses.Mine", power=2.0, class_weights="balanced")(LOGITS, INDICES, WEIGHTS)
            wanted = F.cross_entropy(LOGITS, INDICES, reduction="none") ** 2 * WEIGHTS[INDICES]
            torch.testing.assert_close(found, wanted)
            with pytest.raises(ConfigError, match=r"Mean returns \[\] for 2 clips; return one loss per clip"):
                made("my_losses.Mean")
    finally:
        sys.modules.pop("my_losses", None)


@pytest.mark.parametrize("choice", ["auto", "cross_entropy"])
def test_choosing_a_loss_keeps_class_weights_and_smoothing(choice: str) -> None:
    config = compose([f"loss={choice}", "loss.class_weights=balanced", "loss.label_smoothing=0.1"])
    check_config(config)
    assert (config.loss.class_weights, config.loss.label_smoothing) == ("balanced", 0.1)


def test_replacing_the_class_keeps_class_weights_and_smoothing(capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(["loss=focal", "loss._target_=torch.nn.MultiMarginLoss", "loss.margin=0.5"])
    check_config(config)
    assert OmegaConf.to_container(config.loss) == {
        "_target_": "torch.nn.MultiMarginLoss", "class_weights": "none", "label_smoothing": 0.0, "margin": 0.5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["loss._target_=torch.nn.MultiMarginLoss", "loss.label_smoothing=0.1"], "takes whole labels"),
        (["loss._target_=torch.nn.Linear", "loss.in_features=2"], "loss._target_=torch.nn.Linear is not a loss"),
        (["loss._target_=torch.nn.CTCLoss"], "it compares sequences"),
    ],
)
def test_invalid_losses_are_rejected_before_audio_is_read(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], message: str
) -> None:
    monkeypatch.setattr(AudioDataModule, "setup", lambda self: pytest.fail("audio was read"))
    with pytest.raises(ConfigError, match=message):
        run(tiny_urbansound8k, tmp_path / "run", *typed)


def test_checkpoint_of_a_training_with_focal_loss_loads(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    metrics = run(
        tiny_urbansound8k, tmp_path / "run", "loss=focal", "loss.class_weights=balanced", "trainer.max_epochs=1"
    )
    assert metrics["test/loss"] > 0
    loaded = AudioClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/best.ckpt")
    assert isinstance(loaded.loss.loss, FocalLoss)
    assert not [name for name in loaded.state_dict() if name.startswith("loss.")]


def test_configurations_without_a_loss_target_load() -> None:
    config: Any = OmegaConf.to_container(compose(["scheduler=none"]), resolve=True)
    config["loss"] = {"label_smoothing": 0.1, "class_weights": "none"}
    classifier = AudioClassifier(config, task().to_dict(), [1, 1, 1], 3)
    assert isinstance(classifier.loss.loss, nn.CrossEntropyLoss)
    assert "class_weights" in classifier.state_dict()
    assert not [name for name in classifier.state_dict() if name.startswith("loss.")]


@pytest.mark.parametrize("weights", [3, 4])
def test_number_of_class_weights_is_checked_against_the_data(
    tiny_urbansound8k: Path, tmp_path: Path, weights: int
) -> None:
    """Until the data is read, the number of weights is assumed to be the number of classes (here three)."""
    line = ["loss._target_=torch.nn.CrossEntropyLoss", f"loss.weight={[1.0] * weights}", "trainer.max_epochs=1"]
    if weights == 3:
        assert run(tiny_urbansound8k, tmp_path / "run", *line)["epochs"] == 1
        return
    with pytest.raises(ConfigError, match="loss: CrossEntropyLoss cannot be computed from logits and labels"):
        run(tiny_urbansound8k, tmp_path / "run", *line)
