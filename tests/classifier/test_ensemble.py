"""Ensembles: each member is trained as it would be alone, and the mean of all predicts."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from choices import model
from running import Killed, kill_at, resume, run
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.factory import check_networks
from audio_lightning.config import compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask, FeatureShape
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.models import AudioModel

SHAPE = FeatureShape("spectrogram", (1, 16, 20))


def make(shape: FeatureShape = SHAPE) -> AudioModel:
    return model("panns", shape, channels=[2, 4], hidden_dim=6, dropout=0.0)


def ensemble(members: int) -> Ensemble:
    return Ensemble(make, members, SHAPE)


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


def test_members_have_different_weights_and_their_mean_predicts() -> None:
    network, x = ensemble(3).eval(), torch.randn(5, 1, 16, 20)
    alone = torch.stack([member(x) for member in network.members])
    assert not torch.allclose(alone[0], alone[1])
    torch.testing.assert_close(network(x), alone.mean(0))
    assert network.embed(x).shape == (5, network.embedding_dim) == (5, 18)
    assert network.macs() == 3 * make().macs()
    assert network.title == "3 x PANNs"


def test_in_training_each_member_gets_its_own_clips() -> None:
    network, x = ensemble(2).train(), torch.randn(6, 1, 16, 20)
    logits = network(x)
    logits[:3].sum().backward()  # the first three clips
    first, second = ([weight.grad for weight in member.parameters()] for member in network.members)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in first)
    assert all(gradient is None or not gradient.any() for gradient in second)
    with pytest.raises(ValueError, match="3 clips can't be divided into 2 equal parts"):
        network(x[:3])


def test_members_apart_get_one_channel_each_in_turn() -> None:
    shape = FeatureShape("spectrogram", (2, 16, 20))
    network, x = Ensemble(make, 4, shape, apart=True), torch.randn(6, 2, 16, 20)
    assert network.copies == 2
    assert network.title == "4 x PANNs, a channel each,"
    assert network.input_shape == shape
    assert [member.input_shape for member in network.members] == [SHAPE] * 4
    seen = [x[:, :1], x[:, 1:], x[:, :1], x[:, 1:]]
    network.eval()
    alone = [member(part) for member, part in zip(network.members, seen)]
    torch.testing.assert_close(network(x), torch.stack(alone).mean(0))
    embeddings = [member.embed(part) for member, part in zip(network.members, seen)]
    torch.testing.assert_close(network.embed(x), torch.cat(embeddings, dim=1))
    network.train()
    for member in network.members:  # without batch statistics, a clip's logits are the same in any batch
        member.blocks.eval()
    of_training = torch.cat([alone[0][:3], alone[1][:3], alone[2][3:], alone[3][3:]])
    torch.testing.assert_close(network(x), of_training)


def test_stages_hold_the_parameters_of_all_members() -> None:
    network, alone = ensemble(2), make()
    stages = network.stages()
    assert list(stages) == list(alone.stages())
    of_stages = [parameter for stage in stages.values() for parameter in stage]
    assert len(of_stages) == len(set(of_stages))
    assert set(of_stages) == set(network.parameters())
    assert len(list(network.parameters())) == 2 * len(list(alone.parameters()))
    assert set(stages["head"]) == {weight for member in network.members for weight in member.head.parameters()}


def classifier(members: int, **changes: Any) -> AudioClassifier:
    small = ["model.channels=[2,2]", "model.hidden_dim=4", "model.dropout=0.0", "feature.normalize=clip"]
    config = compose([f"ensemble.num_members={members}", *small])
    found = AudioClassifier({**config, **changes}, AudioTask(("a", "b"), 8000, 2000).to_dict(), [4, 4], 8).train()
    found._trainer = SimpleNamespace(log_every_n_steps=0, global_step=0)  # type: ignore[assignment]
    return found


def test_members_with_different_channels_get_the_same_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    several = classifier(
        4, ensemble={"num_members": 4, "inputs": "channel"}, feature=compose(["feature=logmelpcen"]).feature
    )
    several.front_end.fit([torch.randn(4, 2000)])
    parts = [(torch.full((2, 2, 64, 26), float(copy)), torch.tensor([copy, 1 - copy])) for copy in (0, 1)]
    iterator = iter(parts)
    monkeypatch.setattr(several, "_augmented", lambda batch: next(iterator))
    logits, target = several._augmented_logits({})  # type: ignore[typeddict-item]
    assert logits.shape == (8, 2)
    assert target.tolist() == 2 * [0, 1] + 2 * [1, 0]


@pytest.mark.parametrize("augment", ["none", "light"])
def test_each_member_learns_as_it_would_alone(augment: str) -> None:
    several = classifier(2, augment=compose([f"augment={augment}"]).augment)
    several.augmentation.eval()  # it takes the same way through the classifier, and leaves the clips as they are
    batch: Any = {"waveform": torch.randn(6, 2000), "target": torch.tensor([0, 1, 1, 0, 1, 0]), "clip": torch.arange(6)}
    several.training_step(batch, 0).backward()
    for member in several.network.members:
        alone = classifier(1)
        alone.network.load_state_dict(member.state_dict())
        alone.training_step(batch, 0).backward()
        for name, parameter in alone.network.named_parameters():
            torch.testing.assert_close(member.get_parameter(name).grad, parameter.grad)
    assert several.train_epoch_metrics()["train/loss"].isfinite()


def test_an_ensemble_trains_resumes_and_is_loaded(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    options = ["ensemble.num_members=2", "augment=light", "finetune.layer_decay=0.9", "trainer.max_epochs=3"]
    whole = run(tiny_urbansound8k, tmp_path / "whole", *options)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "parted", *options)
    parted = resume(tmp_path / "parted")
    assert parted["test/accuracy"] == whole["test/accuracy"]
    states = [weights(tmp_path / name) for name in ("whole", "parted")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    found = evaluate(tmp_path / "whole", output=tmp_path / "again")
    assert found.metrics["test/accuracy"] == whole["test/accuracy"]
    tables = [pd.read_csv(folder / "predictions.csv") for folder in (tmp_path / "whole", tmp_path / "again")]
    np.testing.assert_allclose(*(table.filter(like="probability").to_numpy() for table in tables), atol=1e-6)
    alone = run(tiny_urbansound8k, tmp_path / "alone", *options, "ensemble.num_members=1")
    for name in ("parameters", "macs"):
        assert json.loads((tmp_path / "whole/metrics.json").read_text())[name] == 2 * alone[name]


@pytest.mark.parametrize("callbacks", ["ema", "swa"])
def test_the_weights_of_an_ensemble_are_averaged(callbacks: str, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    metrics = run(
        tiny_urbansound8k, tmp_path / "run", "ensemble.num_members=2", f"callbacks={callbacks}", "trainer.max_epochs=2"
    )
    assert 0 <= metrics["test/accuracy"] <= 1


@pytest.mark.parametrize("domain", ["waveform", "features"])
def test_clips_are_mixed_with_others_of_the_members_own_batch(domain: str) -> None:
    mixup = {"_target_": "audio_lightning.augment.mixup.Mixup", "alpha": 1.0, "domain": domain, "p": 1.0}
    several = classifier(3, augment={"pairs": {"mixup": mixup}})
    batch: Any = {"waveform": torch.randn(2, 2000), "target": torch.tensor([0, 1]), "clip": torch.arange(2)}
    _, target = several._augmented_logits(batch)
    assert target.shape == (6, 2)
    # Each of two clips has the other one for a partner, which no copy of itself could be told from.
    assert ((target > 0) & (target < 1)).all()
    assert len(target[:, 0].unique()) == 6


@pytest.mark.parametrize("members", [0, -1, 1.5, True, "two", None])
def test_an_invalid_number_of_members_is_refused(members: Any) -> None:
    config = {**compose([]), "ensemble": {"num_members": members}}
    with pytest.raises(ConfigError, match=rf"^ensemble\.num_members={members}: expected a whole number, at least 1$"):
        check_networks(config, AudioTask(("a", "b"), 22050, 44100))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ensemble.inputs=bins"], "ensemble.inputs=bins: expected one of all, channel"),
        (
            ["ensemble.num_members=3", "ensemble.inputs=channel", "feature=logmelpcen"],
            "ensemble.num_members=3 with ensemble.inputs=channel: the feature has 2 channels; use "
            "ensemble.num_members=2, or a multiple of it",
        ),
    ],
)
def test_invalid_ensemble_inputs_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_networks(compose(options), AudioTask(("a", "b"), 22050, 44100))
    assert str(refused.value) == message


def test_members_with_different_channels_train_and_are_loaded(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    options = [
        "ensemble.num_members=2",
        "ensemble.inputs=channel",
        "feature=logmelpcen",
        "augment=light",
        "trainer.max_epochs=2",
    ]
    metrics = run(tiny_urbansound8k, tmp_path / "run", *options)
    found = evaluate(tmp_path / "run", output=tmp_path / "again")
    assert found.metrics["test/accuracy"] == metrics["test/accuracy"]
    alone = run(tiny_urbansound8k, tmp_path / "alone", "feature=logmel", "augment=light", "trainer.max_epochs=1")
    assert metrics["parameters"] == 2 * alone["parameters"]
