"""Selective classification: thresholds, coverage and precision."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
from typer.testing import CliRunner
from untrained import CNN, write_member

import audio_lightning as al
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.cli.main import app
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.rejection import CoverageCurve, precise_thresholds

CURVE = CoverageCurve.of(np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.4]), np.array([True, True, False, True, False, False]))


def test_equal_probabilities_share_a_threshold() -> None:
    assert CURVE.threshold.tolist() == [0.9, 0.8, 0.6, 0.5, 0.4]
    np.testing.assert_allclose(CURVE.coverage, [1 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    np.testing.assert_allclose(CURVE.precision, [1, 2 / 3, 3 / 4, 3 / 5, 3 / 6])


@pytest.mark.parametrize(
    ("least", "threshold", "coverage"),
    [(1.0, 0.85, 1 / 6), (0.75, 0.55, 4 / 6), (0.7, 0.55, 4 / 6), (0.5, 0.2, 1.0), (0.1, 0.2, 1.0)],
)
def test_the_lowest_threshold_that_is_precise_enough(least: float, threshold: float, coverage: float) -> None:
    found = CURVE.at_precision(least)
    assert found is not None
    assert found.threshold == pytest.approx(threshold)
    assert found.coverage == pytest.approx(coverage)
    assert found.precision >= least
    assert CURVE.at_threshold(found.threshold) == found


def test_no_threshold_is_precise_enough() -> None:
    assert CoverageCurve.of(np.array([0.9, 0.8]), np.array([False, True])).at_precision(0.9) is None
    assert math.isnan(CURVE.at_threshold(0.95).precision)


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose 40 validation clips are right where their probability is above 0.6. Read only."""
    path = write_member(tmp_path_factory.mktemp("validated") / "one.ckpt", *CNN)
    classifier = AudioClassifier.load_from_checkpoint(path)
    assert isinstance(classifier, AudioClassifier)
    shares = torch.linspace(0.4, 0.95, 40)
    logits = torch.stack([shares, (1 - shares) / 2, (1 - shares) / 2], dim=1).log()
    classifier.predictions.update(torch.arange(40), logits, logits.logsumexp(1))
    classifier.calibrate(torch.where(shares > 0.6, 0, 1), "temperature")
    classifier.store_decisions(path)
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "long.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, np.concatenate([tiny.sound(name, rng) for name in tiny.CLASSES * 4]), tiny.RATE)
    return path


def test_target_precision_sets_the_threshold(validated: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(validated)
    thresholds, (found,) = precise_thresholds(classifier, 1.0)
    assert found is not None
    assert found.precision == 1.0
    assert len(set(thresholds)) == 1
    kept = classifier.validated_clips
    assert kept is not None
    reached = classifier.activate(kept.logits).max(1).values >= found.threshold
    assert (kept.targets[reached] == 0).all()
    assert (kept.targets[~reached] == 1).all()


@pytest.mark.parametrize("wanted", [0.0, 1.1, math.nan])
def test_invalid_precisions(wanted: float, validated: Path) -> None:
    with pytest.raises(ConfigError, match="expected a share above 0"):
        precise_thresholds(AudioClassifier.load_from_checkpoint(validated), wanted)


def test_a_checkpoint_without_validation_clips(tmp_path: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(write_member(tmp_path / "one.ckpt", *CNN))
    with pytest.raises(ConfigError, match="contains no validation clips"):
        precise_thresholds(classifier, 0.9)


def test_several_labels_have_a_threshold_each(tmp_path: Path) -> None:
    path = write_member(tmp_path / "one.ckpt", *CNN, multilabel=True)
    classifier = AudioClassifier.load_from_checkpoint(path)
    assert isinstance(classifier, AudioClassifier)
    shares = torch.linspace(0.1, 0.9, 30)[:, None].repeat(1, 3)
    targets = torch.stack([shares[:, 0] > 0.4, shares[:, 0] > 0.7, shares[:, 0] < 0], dim=1)
    classifier.predictions.update(torch.arange(30), shares.logit(), shares.sum(1))
    classifier.calibrate(targets.float(), "temperature")
    thresholds, operations = precise_thresholds(classifier, 1.0)
    assert [one is None for one in operations] == [False, False, True]
    assert thresholds[0] < thresholds[1] < thresholds[2] == math.inf


def predicted(*arguments: object) -> tuple[list[dict[str, str]], str]:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(result.stdout.splitlines())), result.stderr


def test_predictions_below_the_threshold_are_unknown(validated: Path, recording: Path) -> None:
    plain, _ = predicted(validated, recording)
    top = [max(float(row[f"probability {name}"]) for name in tiny.CLASSES) for row in plain]
    middle = sorted(top)[len(top) // 2]
    rows, said = predicted(validated, recording, "--threshold", middle)
    assert [row["predicted"] == "unknown" for row in rows] == [share < middle for share in top]
    assert {row["predicted"] for row in rows} > {"unknown"}
    assert "validation clips reach it" in said
    frame = al.predict(validated, recording, threshold=middle)
    assert list(frame["predicted"]) == [row["predicted"] for row in rows]
    _, said = predicted(validated, recording, "--min-precision", 0.9)
    assert "of these are predicted correctly" in said


def test_raw_probabilities_are_uncalibrated(validated: Path, recording: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(validated)
    assert classifier.calibration.fitted
    calibrated, _ = predicted(validated, recording)
    raw, _ = predicted(validated, recording, "--raw")
    assert [row["predicted"] for row in raw] == [row["predicted"] for row in calibrated]
    before = torch.tensor([[float(row[f"probability {name}"]) for name in tiny.CLASSES] for row in raw])
    after = torch.tensor([[float(row[f"probability {name}"]) for name in tiny.CLASSES] for row in calibrated])
    torch.testing.assert_close(classifier.activate(before.log()), after, atol=1e-4, rtol=1e-4)


def test_raw_thresholds_are_chosen_before_calibration(validated: Path, recording: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(validated)
    kept = classifier.validated_clips
    assert kept is not None
    shares, classes = classifier.activate_uncalibrated(kept.logits).max(1)
    best = CoverageCurve.of(shares.numpy(), (classes == kept.targets).numpy())
    expected = best.at_precision(0.9)
    assert expected is not None
    (threshold, *_), _ = precise_thresholds(classifier, 0.9, raw=True)
    assert threshold == expected.threshold
    assert threshold != precise_thresholds(classifier, 0.9)[0][0]
    rows, said = predicted(validated, recording, "--raw", "--min-precision", 0.9)
    shown = float(said.split()[1])
    assert threshold - 1e-6 <= shown <= threshold  # the same clips reach it if it is typed
    assert f" before calibration: {100 * expected.coverage:.1f} % of 40" in said
    top = [max(float(row[f"probability {name}"]) for name in tiny.CLASSES) for row in rows]
    assert [row["predicted"] == "unknown" for row in rows] == [share < threshold for share in top]
    frame = al.predict(validated, recording, raw=True, min_precision=0.9)
    assert list(frame["predicted"]) == [row["predicted"] for row in rows]
    _, said = predicted(validated, recording, "--raw", "--threshold", 0.6)
    assert f" {100 * best.at_threshold(0.6).coverage:.1f} % of 40" in said


def test_raw_probabilities_of_several_labels_have_the_decisions_of_calibrated_ones(
    tmp_path: Path, recording: Path
) -> None:
    path = write_member(tmp_path / "one.ckpt", *CNN, multilabel=True, thresholds=(0.3, 0.5, 0.6))
    classifier = AudioClassifier.load_from_checkpoint(path)
    plain = al.predict(classifier, recording)
    middle = torch.tensor([plain[f"probability {name}"].median() for name in tiny.CLASSES])
    scale = torch.tensor([0.5, 2.0, 3.0])
    classifier.calibration.put(scale, (classifier.thresholds.logit() - scale * middle.logit()).float())
    calibrated, raw = al.predict(classifier, recording), al.predict(classifier, recording, raw=True)
    assert list(raw["predicted"]) == list(calibrated["predicted"])
    assert 0 < sum(len(labels) for labels in raw["predicted"]) < 3 * len(raw)


def test_rejected_predictions_are_visible_beside_the_most_probable(validated: Path, recording: Path) -> None:
    plain, _ = predicted(validated, recording)
    middle = sorted(max(float(row[f"probability {name}"]) for name in tiny.CLASSES) for row in plain)[len(plain) // 2]
    options = ("--top-k", 2, "--threshold", middle)
    rows, _ = predicted(validated, recording, *options)
    assert [row["predicted"] == "unknown" for row in rows] == [float(row["probability_1"]) < middle for row in rows]
    assert {row["predicted"] for row in rows} > {"unknown"}
    assert "unknown" not in {row["class_1"] for row in rows}
    result = CliRunner().invoke(
        app, ["predict", str(validated), str(recording), *map(str, options), "--format", "json"]
    )
    assert [entry["predicted"] for entry in json.loads(result.stdout)] == [row["predicted"] for row in rows]


def test_typicality_is_the_share_of_validation_clips_with_less_energy(
    validated: Path, recording: Path, tmp_path: Path
) -> None:
    classifier = AudioClassifier.load_from_checkpoint(validated)
    assert classifier.validated_clips is not None
    known = classifier.validated_clips.energies
    assert known is not None
    rows, _ = predicted(validated, recording, "--typicality")
    waveform = torch.from_numpy(soundfile.read(recording, dtype="float32")[0]).reshape(-1, 2000)
    _, energies = classifier.logits_and_energy(waveform)
    expected = [(known < energy).float().mean().item() for energy in energies]
    assert [float(row["typicality"]) for row in rows] == pytest.approx(expected, abs=1e-3)
    frame = al.predict(validated, recording, typicality=True, per_recording=True)
    assert list(frame["typicality"]) == pytest.approx([np.mean(expected)], abs=1e-3)
    bare = write_member(tmp_path / "bare.ckpt", *CNN)
    with pytest.raises(ConfigError, match="contains no energies"):
        al.predict(bare, recording, typicality=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", "0.5", "--min-precision", "0.9"), "give one of the two"),
        (("--threshold", "nois=0.5"), "--threshold nois=0.5: no such class"),
        (("--min-precision", "2"), "expected a share above 0"),
    ],
)
def test_conflicting_options(options: tuple[str, ...], message: str, validated: Path, recording: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(validated), str(recording), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
