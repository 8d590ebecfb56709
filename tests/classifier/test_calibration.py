"""Calibration: fit, application, storage, validation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from untrained import CNN, LSTM, write_member

from audio_lightning.classifier.calibration import Calibration, fit
from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import add_decisions, write_ensemble
from audio_lightning.classifier.validated import MOST_NUMBERS, ValidatedClips
from audio_lightning.core.errors import CheckpointError


def drawn(clips: int, classes: int, sharpness: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets, and logits ``sharpness`` times those whose softmax the targets are drawn from."""
    generator = torch.Generator().manual_seed(seed)
    true = 2 * torch.randn(clips, classes, generator=generator)
    return sharpness * true, torch.multinomial(true.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_temperature_undoes_a_scale(sharpness: float) -> None:
    scale, bias = fit(*drawn(4000, 5, sharpness), "temperature", multilabel=False)
    assert not bias.any()
    assert (scale == scale[0]).all()
    assert float(scale[0]) == pytest.approx(1 / sharpness, rel=0.08)


def test_temperature_is_where_the_smoothed_cross_entropy_is_lowest() -> None:
    logits, targets = drawn(50, 4, 3.0)
    smooth = torch.full((50, 4), 1 / 204, dtype=torch.float64)
    smooth[torch.arange(50), targets] = 50 / 51 + 1 / 204
    known = logits.double()
    best = minimize_scalar(lambda scale: float(F.cross_entropy(known * scale, smooth)), bounds=(0.01, 10))
    scale, _ = fit(logits, targets, "temperature", multilabel=False)
    assert float(scale[0]) == pytest.approx(best.x, rel=1e-4)


def test_vector_undoes_scales_and_biases() -> None:
    logits, targets = drawn(20000, 3, 1.0)
    known = logits.log_softmax(1)
    factor, shift = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([0.5, 0.0, -0.5])
    # In log-probabilities: softmax(known) is right, and what is given is a distorted version of it.
    given = (known - shift) / factor
    scale, bias = fit(given, targets, "vector", multilabel=False)
    calibration = Calibration(3, multilabel=False)
    calibration.put(scale, bias)
    reached = float(F.cross_entropy(calibration(given), targets))
    assert reached < float(F.cross_entropy(given, targets)) - 0.05
    temperature, none = fit(given, targets, "temperature", multilabel=False)
    assert reached < float(F.cross_entropy(given.log_softmax(1) * temperature + none, targets)) - 0.02


@pytest.mark.parametrize(("method", "with_bias"), [("temperature", False), ("vector", True)])
def test_each_of_several_labels_has_its_own_calibration(method: str, with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(6000, 2, generator=generator) + torch.tensor([-1.0, 0.5]) * with_bias
    targets = (torch.rand(6000, 2, generator=generator) < true.sigmoid()).float()
    given = true * torch.tensor([3.0, 0.5]) + torch.tensor([1.0, -1.0]) * with_bias
    scale, bias = fit(given, targets, method, multilabel=True)  # type: ignore[arg-type]
    assert scale.tolist() == pytest.approx([1 / 3, 2.0], rel=0.12)
    expected = [-1 / 3, 2.0] if with_bias else [0.0, 0.0]
    assert bias.tolist() == pytest.approx(expected, abs=0.15)


def test_correct_clips_do_not_lead_to_probabilities_of_one() -> None:
    logits = 5 * torch.eye(4).repeat(5, 1)
    scale, _ = fit(logits, torch.arange(4).repeat(5), "temperature", multilabel=False)
    probabilities = (logits * scale).softmax(1).max(1).values
    assert float(probabilities.max()) == pytest.approx(20 / 21 + 1 / 84, abs=1e-3)  # the smoothed target of 20 clips


@pytest.mark.parametrize("logits", [torch.zeros(0, 3), torch.tensor([[1.0, math.nan, 0.0]])], ids=["no clip", "NaN"])
def test_nothing_to_fit_to_changes_nothing(logits: torch.Tensor) -> None:
    scale, bias = fit(logits, torch.zeros(len(logits), dtype=torch.long), "vector", multilabel=False)
    assert scale.tolist() == [1, 1, 1]
    assert bias.tolist() == [0, 0, 0]


def test_a_label_that_no_clip_has_keeps_its_probabilities() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    scale, bias = fit(torch.randn(3, 2), targets, "vector", multilabel=True)
    assert (float(scale[1]), float(bias[1])) == (1.0, 0.0)


def test_without_calibration_every_bit_is_kept() -> None:
    logits = torch.randn(5, 3)
    calibration = Calibration(3, multilabel=False)
    assert calibration(logits) is logits
    calibration.put(torch.full((3,), 0.5), torch.zeros(3))
    assert calibration.temperature == pytest.approx(2.0)
    torch.testing.assert_close(calibration(logits).softmax(1), (logits / 2).softmax(1))
    calibration.reset()
    assert calibration(logits) is logits
    assert calibration.temperature is None


def test_a_checkpoint_keeps_it_and_the_validated_clips(tmp_path: Path) -> None:
    path = write_member(tmp_path / "one.ckpt", *CNN)
    classifier = AudioClassifier.load_from_checkpoint(path)
    assert isinstance(classifier, AudioClassifier)
    waveform = torch.randn(6, 2000)
    before = classifier.probabilities(waveform)
    logits = classifier.logits(waveform)
    classifier.predictions.update(torch.arange(6), logits, logits.logsumexp(1))
    classifier.calibrate(torch.tensor([0, 1, 2, 0, 1, 2]), "temperature")
    classifier.store_decisions(path)
    loaded = AudioClassifier.load_from_checkpoint(path)
    torch.testing.assert_close(loaded.calibration.scale, classifier.calibration.scale, rtol=0, atol=0)
    assert loaded.calibration.temperature is not None
    torch.testing.assert_close(loaded.probabilities(waveform), classifier.activate(logits))
    torch.testing.assert_close(loaded.activate_uncalibrated(logits), before)
    assert loaded.validated_clips is not None
    torch.testing.assert_close(loaded.validated_clips.logits, logits)
    assert loaded.validated_clips.targets.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_checkpoint_without_calibration_is_not_calibrated(tmp_path: Path) -> None:
    path = write_member(tmp_path / "old.ckpt", *CNN)
    contents = read_checkpoint(path)
    for name in ("scale", "bias"):
        del contents["state_dict"][f"calibration.{name}"]
    write_checkpoint(path, contents)
    assert not AudioClassifier.load_from_checkpoint(path).calibration.fitted


def test_an_ensemble_calibrates_its_mean(tmp_path: Path) -> None:
    members = [write_member(tmp_path / "cnn.ckpt", *CNN), write_member(tmp_path / "lstm.ckpt", *LSTM)]
    path = tmp_path / "model.ckpt"
    write_ensemble(path, members, [1, 1])
    plain = AudioClassifier.load_from_checkpoint(path)
    clips = ValidatedClips.of(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    add_decisions(path, calibration=(torch.full((3,), 2.0), torch.zeros(3)), validated=clips)
    sharp = AudioClassifier.load_from_checkpoint(path)
    waveform = torch.randn(5, 2000)
    expected = plain.probabilities(waveform).square()
    torch.testing.assert_close(sharp.probabilities(waveform), expected / expected.sum(1, keepdim=True))
    assert sharp.validated_clips is not None
    torch.testing.assert_close(sharp.validated_clips.logits, clips.logits)


def test_members_of_an_ensemble_are_calibrated_first(tmp_path: Path) -> None:
    path = write_member(tmp_path / "cnn.ckpt", *CNN)
    member = AudioClassifier.load_from_checkpoint(path)
    assert isinstance(member, AudioClassifier)
    member.calibration.put(torch.full((3,), 0.25), torch.zeros(3))
    member.store_decisions(path)
    write_ensemble(tmp_path / "model.ckpt", [path], [1])
    waveform = torch.randn(5, 2000)
    ensemble = AudioClassifier.load_from_checkpoint(tmp_path / "model.ckpt")
    torch.testing.assert_close(ensemble.probabilities(waveform), member.probabilities(waveform))


def test_the_energy_of_an_ensemble_is_the_mean_of_its_members(tmp_path: Path) -> None:
    members = [write_member(tmp_path / "cnn.ckpt", *CNN), write_member(tmp_path / "lstm.ckpt", *LSTM)]
    write_ensemble(tmp_path / "model.ckpt", members, [3, 1])
    waveform = torch.randn(5, 2000)
    one, two = (AudioClassifier.load_from_checkpoint(path).logits_and_energy(waveform)[1] for path in members)
    _, found = AudioClassifier.load_from_checkpoint(tmp_path / "model.ckpt").logits_and_energy(waveform)
    torch.testing.assert_close(found, 0.75 * one + 0.25 * two)


HOSTILE = {
    "a negative scale": ("calibration.scale", -torch.ones(3), "positive scales"),
    "an infinite bias": ("calibration.bias", torch.full((3,), math.inf), "finite biases"),
    "two classes": ("calibration.scale", torch.ones(2), "size mismatch|does not fit"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_invalid_calibration_is_refused(case: str, tmp_path: Path) -> None:
    name, value, message = HOSTILE[case]
    path = write_member(tmp_path / "one.ckpt", *CNN)
    contents = read_checkpoint(path)
    contents["state_dict"][name] = value
    write_checkpoint(path, contents)
    with pytest.raises(CheckpointError, match=message) as caught:
        AudioClassifier.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)


CLIPS = {"logits": torch.zeros(2, 3), "targets": torch.tensor([0, 1])}


@pytest.mark.parametrize(
    "values",
    [
        "text",
        {"logits": torch.zeros(2, 3)},
        {**CLIPS, "logits": torch.zeros(2, 4)},
        {**CLIPS, "logits": torch.zeros(2, 3, dtype=torch.float64)},
        {**CLIPS, "logits": torch.full((2, 3), math.nan)},
        {**CLIPS, "targets": torch.tensor([0, 3])},
        {**CLIPS, "targets": torch.tensor([0, -1])},
        {**CLIPS, "targets": torch.tensor([0])},
        {**CLIPS, "targets": torch.zeros(2, 3, dtype=torch.bool)},
        {**CLIPS, "energies": torch.zeros(3)},
        {**CLIPS, "energies": torch.full((2,), math.inf)},
    ],
)
def test_invalid_validated_clips_are_refused(values: object, tmp_path: Path) -> None:
    path = write_member(tmp_path / "one.ckpt", *CNN)
    contents = read_checkpoint(path)
    contents["audio_lightning"]["validated"] = values
    write_checkpoint(path, contents)
    with pytest.raises(CheckpointError, match="validated clips: expected"):
        AudioClassifier.load_from_checkpoint(path)


def test_validated_clips_are_subsampled() -> None:
    classes = 1000
    clips = ValidatedClips.of(torch.zeros(3 * MOST_NUMBERS // classes + 1, classes), torch.arange(1501) % classes)
    assert clips.logits.numel() <= MOST_NUMBERS
    assert np.diff(clips.targets.numpy()[:200]).tolist() == [4] * 199
