"""Ensembles of checkpoints: the weighted mean of their members' predictions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import untrained
from tiny import FROZEN_OVERRIDES
from torch import Tensor
from untrained import CNN, LSTM, write_member

from audio_lightning.classifier import checkpoint_ensemble
from audio_lightning.classifier.checkpoint import read_contents, write_checkpoint
from audio_lightning.classifier.checkpoint_ensemble import CheckpointEnsemble
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.core.errors import CheckpointError
from audio_lightning.data.store.fingerprints import SEGMENT
from audio_lightning.inference.export.graph import Probabilities, graphs_of
from audio_lightning.losses.objective import BinaryCrossEntropy, CrossEntropy
from audio_lightning.models.pretrained.backbone import Backbone


def loaded(path: Path) -> Any:
    return AudioClassifier.load_from_checkpoint(path)


def joined(folder: Path, members: Sequence[Path], weights: Sequence[float], **options: Any) -> CheckpointEnsemble:
    write_ensemble(folder / "model.ckpt", members, weights, **options)
    found = loaded(folder / "model.ckpt")
    assert isinstance(found, CheckpointEnsemble)
    return found


@pytest.fixture
def waveform() -> Tensor:
    return 0.1 * torch.randn(5, 2000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("multilabel", [False, True])
def test_probabilities_are_the_weighted_mean_of_the_members(tmp_path: Path, waveform: Tensor, multilabel: bool) -> None:
    choices = [CNN, LSTM, [*CNN, "feature=mfcc", "feature.n_mels=16", "feature.n_mfcc=8", "feature.normalize=clip"]]
    members = [
        write_member(tmp_path / f"{seed}.ckpt", *line, seed=seed, multilabel=multilabel)
        for seed, line in enumerate(choices)
    ]
    ensemble = joined(tmp_path, members, [3, 2, 1])
    found = ensemble.probabilities(waveform)
    each = [loaded(member).probabilities(waveform) for member in members]
    assert (each[0] - each[1]).abs().max() > 0.01  # or their mean would say nothing
    torch.testing.assert_close(found, (3 * each[0] + 2 * each[1] + each[2]) / 6, rtol=0, atol=1e-6)
    assert found.dtype == torch.float32
    assert not ensemble.training


@pytest.mark.parametrize("objective", [CrossEntropy(), BinaryCrossEntropy()])
def test_certain_members_are_pooled_without_infinities(objective: CrossEntropy | BinaryCrossEntropy) -> None:
    logits = torch.tensor([[[200.0, -200.0, 0.0]], [[-200.0, 200.0, 0.0]], [[200.0, -200.0, 0.0]]])
    pooled = objective.pool(logits, torch.tensor([0.5, 0.25, 0.25]))
    assert pooled.isfinite().all()
    last = 0.0 if isinstance(objective, CrossEntropy) else 0.5
    torch.testing.assert_close(objective.activate(pooled), torch.tensor([[0.75, 0.25, last]]))
    alone = objective.pool(logits[:1], torch.ones(1))  # of one member, its own probabilities
    torch.testing.assert_close(objective.activate(alone), objective.activate(logits[0]))


def test_an_embedding_is_those_of_the_members_side_by_side(tmp_path: Path, waveform: Tensor) -> None:
    members = [write_member(tmp_path / "cnn.ckpt", *CNN), write_member(tmp_path / "lstm.ckpt", *LSTM)]
    ensemble = joined(tmp_path, members, [1, 2])
    with torch.inference_mode():
        expected = torch.cat([loaded(member).embed(waveform) for member in members], dim=1)
        torch.testing.assert_close(ensemble.embed(waveform), expected)
    assert ensemble.embedding_dim == expected.shape[1]


def test_thresholds_are_the_weighted_mean_unless_given(tmp_path: Path) -> None:
    members = [
        write_member(tmp_path / f"{place}.ckpt", *CNN, multilabel=True, thresholds=values)
        for place, values in enumerate([(0.2, 0.4, 0.6), (0.6, 0.4, 0.2)])
    ]
    ensemble = joined(tmp_path, members, [3, 1])
    torch.testing.assert_close(ensemble.thresholds, torch.tensor([0.3, 0.4, 0.5]))
    assert ensemble.decide(torch.tensor([[0.35, 0.35, 0.55]])) == [["high_tone", "noise"]]
    given = joined(tmp_path, members, [3, 1], thresholds=[0.25, 0.5, 0.75])
    torch.testing.assert_close(given.thresholds, torch.tensor([0.25, 0.5, 0.75]))


def test_trained_on_is_the_union_of_the_members(tmp_path: Path) -> None:
    recordings = [(1, 2, 3), (2, 3, 4), None]
    members = [
        write_member(tmp_path / f"{place}.ckpt", *CNN, recordings=known) for place, known in enumerate(recordings)
    ]
    found = joined(tmp_path, members[:2], [1, 1]).trained_on
    assert found is not None
    assert found.dtype == SEGMENT
    assert found["recording"].tolist() == [1, 2, 3, 4]
    assert joined(tmp_path, members, [1, 1, 1]).trained_on is None


def test_its_data_is_that_of_the_member_with_the_largest_weight(tmp_path: Path) -> None:
    members = [write_member(tmp_path / f"{seed}.ckpt", *CNN, f"seed={seed}") for seed in (5, 6)]
    assert joined(tmp_path, members, [1, 2], notes={"why": "x"}).config["seed"] == 6
    assert joined(tmp_path, members, [2, 1]).config["seed"] == 5
    assert joined(tmp_path, members, [1, 2], notes={"why": "x"}).notes == {"why": "x"}


@pytest.mark.parametrize(
    ("precisions", "expected"),
    [(("bf16-mixed", "bf16-mixed"), "bf16-mixed"), (("bf16-mixed", "32-true"), "32-true")],
)
def test_its_precision_is_that_of_all_members(tmp_path: Path, precisions: tuple[str, ...], expected: str) -> None:
    members = [write_member(tmp_path / f"{name}.ckpt", *CNN, f"trainer.precision={name}") for name in precisions]
    assert joined(tmp_path, members, [1] * len(members)).config["trainer"]["precision"] == expected


@pytest.mark.parametrize(
    ("changed", "computed"), [([], 1), (["feature.n_fft=512"], 2), (["feature.normalize=minmax"], 2)]
)
def test_equal_features_are_computed_once(tmp_path: Path, waveform: Tensor, changed: list[str], computed: int) -> None:
    members = [write_member(tmp_path / "a.ckpt", *CNN), write_member(tmp_path / "b.ckpt", *LSTM, *changed)]
    ensemble = joined(tmp_path, members, [1, 1])
    calls: list[int] = []
    for front_end in {member.front_end for member in ensemble.members if isinstance(member, ClassifierNetwork)}:
        front_end.register_forward_hook(lambda *_: calls.append(1))
    ensemble.probabilities(waveform)
    assert len(calls) == computed


def test_front_ends_with_other_statistics_are_computed_separately(tmp_path: Path, waveform: Tensor) -> None:
    """As those of other folds."""
    members = [
        write_member(tmp_path / f"{place}.ckpt", *CNN, "feature.normalize=statistics", level=level)
        for place, level in enumerate([0.01, 1.0])
    ]
    each = [loaded(member).probabilities(waveform) for member in members]
    assert (each[0] - each[1]).abs().max() > 0.01
    found = joined(tmp_path, members, [1, 1]).probabilities(waveform)
    torch.testing.assert_close(found, (each[0] + each[1]) / 2, rtol=0, atol=1e-6)


def test_trust_applies_to_all_members(tmp_path: Path, waveform: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_model.py").write_text(
        "from audio_lightning.models.cnn import CNN\n\n\nclass Own(CNN):\n    pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from audio_lightning.config import trusting

    with trusting("own_model"):
        members = [
            write_member(tmp_path / f"{seed}.ckpt", *CNN, "model._target_=own_model.Own", seed=seed) for seed in (0, 1)
        ]
    write_ensemble(tmp_path / "model.ckpt", members, [1, 1])
    with pytest.raises(CheckpointError, match=r"member 1: refused: .*own_model"):
        loaded(tmp_path / "model.ckpt")
    found = AudioClassifier.load_from_checkpoint(tmp_path / "model.ckpt", trust="own_model")
    assert math.isclose(float(found.probabilities(waveform).sum()), len(waveform), rel_tol=1e-5)


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folds of a classifier on a frozen network, with their own statistics, and one on another network."""
    monkeypatch.setattr(untrained, "SMALL", ["data=demo", *FROZEN_OVERRIDES, "feature.backbone=cnn6"])
    members = []
    for place, (seed, level) in enumerate([(0, 0.01), (0, 1.0), (1, 1.0)]):
        contents = read_contents(write_member(tmp_path / f"{place}.ckpt", seed=seed, level=level))
        contents["state_dict"]["network.head.weight"] *= place + 1
        write_checkpoint(tmp_path / f"{place}.ckpt", contents)
        members.append(tmp_path / f"{place}.ckpt")
    return members


def backbone_calls(ensemble: CheckpointEnsemble, waveform: Tensor) -> tuple[Tensor, int]:
    """Probabilities, and number of clips that published networks compute for them."""
    calls: list[int] = []
    handles = [
        backbone.register_forward_hook(lambda module, clips, output: calls.append(len(clips[0])))
        for backbone in {module for module in ensemble.modules() if isinstance(module, Backbone)}
    ]
    found = ensemble.probabilities(waveform)
    for handle in handles:
        handle.remove()
    return found, sum(calls)


def test_a_frozen_network_of_several_folds_is_computed_once(
    tmp_path: Path, folds: list[Path], waveform: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, calls = backbone_calls(shared := joined(tmp_path, folds, [3, 2, 1]), waveform)
    assert calls == 2 * len(waveform)
    assert len({module for module in shared.modules() if isinstance(module, Backbone)}) == 2
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_ensemble, "_same_source", lambda one, other: False)
        separate = joined(tmp_path, folds, [3, 2, 1])
    expected, calls = backbone_calls(separate, waveform)
    assert calls == 3 * len(waveform)
    assert torch.equal(found, expected)
    each = [loaded(member).probabilities(waveform) for member in folds]
    assert (each[0] - each[1]).abs().max() > 0.01  # each fold has its own statistics and head
    torch.testing.assert_close(found, (3 * each[0] + 2 * each[1] + each[2]) / 6, rtol=0, atol=1e-6)
    assert torch.equal(shared.embed(waveform), separate.embed(waveform))


def test_an_exported_graph_computes_a_frozen_network_once(tmp_path: Path, folds: list[Path], waveform: Tensor) -> None:
    def convolutions(classifier: Any) -> tuple[Any, int]:
        program = next(graphs_of(Probabilities(classifier))).program
        return program, sum("conv2d" in str(node.target) for node in program.graph.nodes)

    expected = joined(tmp_path, folds[:2], [1, 1]).probabilities(waveform)
    program, number = convolutions(joined(tmp_path, folds[:2], [1, 1]))
    assert number == convolutions(loaded(folds[0]))[1] > 0
    torch.testing.assert_close(program.module()(waveform), expected, rtol=0, atol=1e-5)
