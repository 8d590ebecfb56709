"""Warm start: trainings that start with the weights of another run."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from omegaconf import OmegaConf
from running import run
from untrained import CNN, LSTM, SMALL, write_member

from audio_lightning.classifier.artifacts import artifact_folder
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.classifier.factory import check_networks
from audio_lightning.config import compose, quote_paths
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.load import load_classifier
from audio_lightning.run_folder import RunFolder
from audio_lightning.sweeps.identity import canonical_config

STATISTICS = "feature.normalize=statistics"
MODELS = {
    "cnn": CNN,
    "lstm": LSTM,
    "panns": ["model=panns", "model.channels=[4,8]", "model.hidden_dim=8"],
    "ensemble": [*CNN, "ensemble.num_members=2"],
    "transformer": ["model=ast", "model.embed_dim=8", "model.num_layers=1", "model.num_heads=2"],
}


def plain(*overrides: str) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(compose(quote_paths([*SMALL, *overrides])), resolve=True)
    return dict(found)


def task(classes: tuple[str, ...] = tiny.CLASSES) -> AudioTask:
    return AudioTask(classes, tiny.RATE, 2000, "zero", False)


def begun(run: Path, *overrides: str, classes: tuple[str, ...] = tiny.CLASSES) -> AudioClassifier:
    """A classifier with other random weights, after its warm start."""
    config = plain(*overrides, f"model.pretrained={run}")
    check_networks(config, task(classes))
    torch.manual_seed(1)
    classifier = AudioClassifier(config, task(classes).to_dict(), [4] * len(classes), 12).eval()
    assert classifier.begin() is not None
    return classifier


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Path of the best checkpoint of a run."""
    folder = RunFolder(tmp_path / "run")
    folder.best.parent.mkdir(parents=True)
    return folder.path


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_with_the_same_classes_all_weights_are_taken(model: list[str], ran: Path) -> None:
    write_member(RunFolder(ran).best, *model, STATISTICS)
    classifier, before = begun(ran, *model, STATISTICS), load_classifier(ran)
    clips = 0.1 * torch.randn(3, 2000)
    assert torch.equal(classifier(clips), before(clips))
    assert str(classifier.beginning).endswith("the network and the statistics of the features")


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_for_other_classes_the_head_is_new(model: list[str], ran: Path) -> None:
    write_member(RunFolder(ran).best, *model)
    classifier, before = begun(ran, *model, classes=("a", "b", "c", "d")), load_classifier(ran)
    clips = 0.1 * torch.randn(3, 2000)
    assert torch.equal(classifier.embed(clips), before.embed(clips))
    assert classifier(clips).shape == (3, 4)
    assert "the network except its head, because the classes differ" in str(classifier.beginning)


def test_another_order_of_classes_needs_a_new_head(ran: Path) -> None:
    write_member(RunFolder(ran).best, *CNN)
    assert "except its head" in str(begun(ran, *CNN, classes=tiny.CLASSES[::-1]).beginning)


def test_other_features_have_new_statistics(ran: Path) -> None:
    model = MODELS["panns"]
    write_member(RunFolder(ran).best, *model, STATISTICS)
    other = begun(ran, *model, STATISTICS, "feature.hop_seconds=0.008")
    assert str(other.beginning).endswith(
        "the statistics of the features are computed again, because the feature or the sample rate differs"
    )
    assert other.begin().statistics is False  # type: ignore[union-attr]  # asserted in begun


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([*CNN[:1], "model.channels=[4,9]", CNN[2]], "they were trained with model.channels=[4,8]"),
        (LSTM, "they were trained with model._target_=audio_lightning.models.cnn.CNN"),
        ([*CNN, "ensemble.num_members=2"], "they were trained with ensemble.num_members=1"),
        ([*CNN, "feature.hop_seconds=0.008"], "they were trained with feature.hop_seconds=0.01"),
    ],
)
def test_weights_of_another_network_are_refused(now: list[str], said: str, ran: Path) -> None:
    write_member(RunFolder(ran).best, *CNN)
    with pytest.raises(ConfigError, match="these are the weights of another network") as caught:
        begun(ran, *now)
    assert said in str(caught.value)


@pytest.mark.parametrize("model", [CNN, MODELS["transformer"], ["model=resnet"]], ids=["cnn", "ast", "resnet"])
def test_a_missing_run_is_refused(model: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.pretrained=\S*nowhere"):
        check_networks(plain(*model, f"model.pretrained={tmp_path / 'nowhere'}"), task())


def test_the_ensemble_of_a_fit_is_refused(tmp_path: Path) -> None:
    member = write_member(tmp_path / "member.ckpt", *CNN)
    write_ensemble(tmp_path / "model.ckpt", [member, member], [0.5, 0.5])
    (tmp_path / "fit.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is an ensemble of checkpoints"):
        check_networks(plain(*CNN, f"model.pretrained={tmp_path}"), task())


def test_the_architecture_of_published_weights_is_taken(ran: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    rest = {"patch_size": 16, "frequency_stride": 10, "time_stride": 10, "layer_norm_eps": 1e-12}
    sizes = ",".join(f"{key}:{value}" for key, value in {**small, **rest, "num_mel_bins": 16, "max_length": 26}.items())
    write_member(RunFolder(ran).best, "model=ast", f"model.architecture={{{sizes}}}")
    classifier = begun(ran, "model=ast")
    assert classifier.config["model"]["architecture"]["hidden_size"] == 8


def test_a_training_reports_its_initial_weights_and_does_not_need_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny.write_urbansound8k(tmp_path / "data")
    first, second = tmp_path / "first", tmp_path / "second"
    run(data, first, "trainer.max_epochs=1")
    frozen = ["finetune.freeze=all", "trainer.max_epochs=1", f"model.pretrained={first}"]
    run(data, second, *frozen)
    assert f"begins with the weights of {first}" in capsys.readouterr().out
    clips = 0.1 * torch.randn(3, 2000)
    before = load_classifier(first).embed(clips)
    shutil.rmtree(first)
    assert torch.equal(load_classifier(second).embed(clips), before)


def test_the_identity_of_a_trial_depends_on_the_weights_of_the_run(ran: Path) -> None:
    write_member(RunFolder(ran).best, *CNN)
    before = canonical_config(plain(*CNN, f"model.pretrained={ran}"))
    (ran / "notes.txt").write_text("looked at it")
    assert canonical_config(plain(*CNN, f"model.pretrained={ran}")) == before
    write_member(RunFolder(ran).best, *CNN, seed=1)
    assert canonical_config(plain(*CNN, f"model.pretrained={ran}")) != before


@pytest.fixture
def artifacts(ran: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """W&B with one artifact, a run; records the requested names."""
    asked: list[str] = []

    class Artifact:
        digest = "abc"

        def download(self, root: str) -> str:
            shutil.copytree(ran, root)
            return root

    class Api:
        def artifact(self, name: str) -> Artifact:
            asked.append(name)
            if "run-1" not in name:
                raise ValueError(f"artifact {name!r} not found\nin entity")
            return Artifact()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=Api))
    artifact_folder.cache_clear()
    return asked


def test_an_artifact_of_wandb_is_a_run(ran: Path, artifacts: list[str]) -> None:
    write_member(RunFolder(ran).best, *CNN)
    classifier = begun(Path("wandb:me/sounds/run-1"), *CNN)
    assert artifacts == ["me/sounds/run-1:latest"]  # once
    stored = torch.load(RunFolder(ran).best, weights_only=True)["state_dict"]
    assert all(
        torch.equal(stored[name], value) for name, value in classifier.network.state_dict(prefix="network.").items()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wandb:run-1", r"not a full name; use wandb:ENTITY/PROJECT/NAME:VERSION"),
        ("wandb:me/sounds/run-2:v0", r"cannot be downloaded \(artifact 'me/sounds/run-2:v0' not found\); check"),
    ],
)
def test_a_missing_artifact_is_refused_in_one_line(name: str, message: str, artifacts: list[str]) -> None:
    with pytest.raises(ConfigError, match=message):
        check_networks(plain(*CNN, f"model.pretrained={name}"), task())
