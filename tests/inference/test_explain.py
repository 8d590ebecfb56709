"""Relevance means something: a class that is decided by a tone burst is explained by the burst."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import untrained
from torch import Tensor
from torch.nn import functional
from untrained import CNN, LSTM, write_member

import audio_lightning as al
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.inference.explain import Method, explain, explain_recording, mark, occlusion, write_explanation
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.nearest import nearest_training_clips
from audio_lightning.inference.time_frequency import BANDS, TimeFrequencyPlane

RATE, SAMPLES = 8000, 8000
HERTZ = (700.0, 2000.0, 0.0)
"""Of the burst that makes each of the first two classes; the third has none."""
BURST = 800


def clip(number: int, rng: np.random.Generator, start: int | None = None) -> tuple[np.ndarray, int]:
    """Noise of any level with the burst of a class, and where that begins."""
    begin = int(rng.integers(SAMPLES - BURST)) if start is None else start
    samples = rng.uniform(0.003, 0.03) * rng.normal(size=SAMPLES)
    time = np.arange(BURST) / RATE
    if HERTZ[number]:
        samples[begin : begin + BURST] += 0.3 * np.hanning(BURST) * np.sin(2 * np.pi * HERTZ[number] * time)
    return samples.astype(np.float32), begin


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> ClassifierNetwork:
    """A small convolutional network that has learned the bursts."""
    path = tmp_path_factory.mktemp("bursts") / "cnn.ckpt"
    options = ["model=cnn_deep", "model.channels=[8,8]", "model.strides=[1,1]", "model.pooled=[8,1]",
               "model.mlp_dims=[16]", "model.dropout=0.0", "feature.hop_seconds=0.02",
               "feature.window_seconds=0.04"]  # fmt: skip
    found = load_classifier(write_member(path, *options, num_samples=SAMPLES))
    assert isinstance(found, ClassifierNetwork)
    rng = np.random.default_rng(0)
    targets = torch.arange(96) % 3
    waveforms = torch.from_numpy(np.stack([clip(target, rng)[0] for target in targets.tolist()]))
    features = found.front_end(waveforms)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(found.network.parameters(), lr=0.01)
    for step in range(90):
        some = torch.arange(16) + 16 * (step % 6)
        loss = functional.cross_entropy(found.network(features[some]), targets[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found.eval()
    assert float((found.logits(waveforms).argmax(1) == targets).float().mean()) > 0.95
    return found


def burst_cells(plane: TimeFrequencyPlane, number: int, begin: int) -> Tensor:
    """Cells in the middle half of a burst, in its band."""
    cells = torch.zeros(BANDS, plane.frames, dtype=torch.bool)
    band = int(torch.bucketize(torch.tensor(HERTZ[number]), plane.edges)) - 1
    first, last = ((begin + round(share * BURST)) / plane.hop_length for share in (0.25, 0.75))
    cells[band, math.ceil(first) : math.floor(last) + 1] = True
    return cells


@pytest.mark.parametrize("method", ["gradcam", "occlusion"])
@pytest.mark.parametrize(("number", "begin"), [(0, 1000), (0, 5500), (1, 3000)])
def test_the_marked_tenth_covers_the_burst(
    classifier: ClassifierNetwork, method: Method, number: int, begin: int
) -> None:
    waveform = torch.from_numpy(clip(number, np.random.default_rng(7), begin)[0])
    found = explain(classifier, waveform, number, method=method)
    cells = burst_cells(found.plane, number, begin).numpy()
    assert found.method == method
    assert found.marked.mean() == pytest.approx(0.1, abs=0.01)
    assert found.marked[cells].mean() >= 0.9
    assert found.probability > 0.9
    assert found.probability_without < 0.5
    assert found.probability_of_marked > 0.5

    elsewhere = np.roll(found.marked, found.plane.frames // 2, axis=1)
    elsewhere[:, begin // found.plane.hop_length - 2 : (begin + BURST) // found.plane.hop_length + 3] = False
    removed = found.plane.keep(waveform, torch.from_numpy(~elsewhere)[None])
    assert float(classifier.probabilities(removed)[0, number]) > 2 * found.probability_without


def test_non_convolutional_networks_use_occlusion(tmp_path: Path) -> None:
    found = load_classifier(write_member(tmp_path / "lstm.ckpt", "model=lstm", "model.hidden_dim=6"))
    waveform = torch.from_numpy(clip(0, np.random.default_rng(0))[0][: found.task.num_samples])
    assert explain(found, waveform, 0).method == "occlusion"
    with pytest.raises(ConfigError, match="--method gradcam: needs a convolutional network"):
        explain(found, waveform, 0, method="gradcam")


@pytest.mark.parametrize("options", [LSTM, CNN, ["feature=waveform", "model=conv1d"]], ids=lambda options: options[-1])
@pytest.mark.parametrize("multilabel", [False, True])
def test_every_kind_of_classifier_is_explained(
    options: list[str], multilabel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "feature=waveform" in options:
        monkeypatch.setattr(untrained, "SMALL", [word for word in untrained.SMALL if "n_mels" not in word])
    found = load_classifier(write_member(tmp_path / "one.ckpt", *options, multilabel=multilabel))
    waveform = torch.from_numpy(clip(1, np.random.default_rng(0))[0][: found.task.num_samples])
    explained = explain(found, waveform, 1)
    assert np.isfinite(explained.relevance).all()
    assert explained.marked.any()


def test_padding_is_not_marked_and_stays_silent(classifier: ClassifierNetwork) -> None:
    waveform = torch.from_numpy(clip(0, np.random.default_rng(3), 1000)[0])
    waveform[4000:] = 0
    found = explain(classifier, waveform, 0)
    frames = found.plane.sounding_frames(waveform)
    assert not found.marked[:, frames:].any()
    assert found.marked.sum() == round(0.1 * BANDS * frames)
    assert not found.without[4000:].any()
    assert not found.of_marked[4000:].any()


def test_masking_keeps_everything_or_only_the_quiet_level() -> None:
    plane = TimeFrequencyPlane(RATE, SAMPLES)
    waveform = torch.from_numpy(clip(1, np.random.default_rng(1))[0])
    every = torch.ones(1, BANDS, plane.frames, dtype=torch.bool)
    torch.testing.assert_close(plane.keep(waveform, every)[0], waveform, atol=1e-5, rtol=0)
    quiet = plane.keep(waveform, ~every)[0]
    assert 0 < quiet.square().mean() < 0.05 * waveform.square().mean()
    assert len(plane.edges) == BANDS + 1
    assert set(plane.band.tolist()) == set(range(BANDS))


@pytest.mark.parametrize("sample_rate", [4000, 8000, 16_000, 22_050, 44_100, 48_000])
def test_no_band_of_the_plane_is_empty(sample_rate: int) -> None:
    plane = TimeFrequencyPlane(sample_rate, sample_rate)
    assert set(plane.band.tolist()) == set(range(BANDS))
    assert plane.levels(torch.randn(sample_rate)).isfinite().all()


def test_the_tenth_with_the_highest_relevance_is_marked() -> None:
    relevance = torch.arange(BANDS * 20.0).reshape(BANDS, 20)
    found = mark(relevance, 20)
    assert found.sum() == 64
    assert relevance[found].min() > relevance[~found].max()


def test_occlusion_blocks_cover_exactly_the_sound(classifier: ClassifierNetwork) -> None:
    waveform = torch.from_numpy(clip(0, np.random.default_rng(3), 1000)[0])
    waveform[4000:] = 0
    plane = TimeFrequencyPlane(RATE, SAMPLES)
    relevance, frames = occlusion(classifier, plane, waveform, 0), plane.sounding_frames(waveform)
    assert (relevance[:, :frames] != 0).float().mean() > 0.99
    assert not relevance[:, frames:].any()


def test_a_long_recording_is_explained_where_it_is_most_certain(classifier: ClassifierNetwork, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    parts = [clip(2, rng)[0], clip(2, rng)[0], clip(0, rng, 4000)[0], clip(2, rng)[0]]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), RATE, subtype="FLOAT")
    found = explain_recording(classifier, tmp_path / "long.wav", class_name=classifier.task.classes[0])
    assert (found.start_seconds, found.stop_seconds) == (2.0, 3.0)
    with pytest.raises(ConfigError, match=r"--class high_tome: .*did you mean high_tone"):
        explain_recording(classifier, tmp_path / "long.wav", class_name="high_tome")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="empty"):
        explain_recording(classifier, tmp_path / "empty.wav")


def test_files(classifier: ClassifierNetwork, tmp_path: Path) -> None:
    waveform, _ = clip(0, np.random.default_rng(3), 1000)
    found = explain(classifier, torch.from_numpy(waveform), 0)
    files = write_explanation(tmp_path, found, [])
    assert files[0].read_bytes().startswith(b"\x89PNG")
    for file, samples in zip(files[1:3], (found.of_marked, found.without)):
        written, rate = soundfile.read(file, dtype="float32")
        assert rate == RATE
        np.testing.assert_allclose(written, samples.clip(-1, 1), atol=1e-4)
    plain = json.loads(files[3].read_text())
    assert plain["probability"] == pytest.approx(found.probability)


def test_nearest_training_clips(trained: Path, tiny_urbansound8k: Path) -> None:
    found = al.load(trained)
    recording = tiny_urbansound8k / "audio/fold1/1000-0-0-0.wav"
    explained = al.explain(found, recording)
    nearest = nearest_training_clips(found, torch.from_numpy(explained.samples), 4)
    similarity = [clip.similarity for clip in nearest]
    assert similarity == sorted(similarity, reverse=True)
    assert len(nearest) == 4
    metrics = al.Run(trained).metrics
    folds = {metrics["test_fold"], metrics["validation_fold"]}
    assert not any(f"fold{fold}/" in clip.path for fold in folds for clip in nearest)
    training = next(path for path in sorted(tiny_urbansound8k.rglob("*.wav"))
                    if not any(f"fold{fold}/" in str(path) for fold in folds))  # fmt: skip
    own = nearest_training_clips(found, torch.from_numpy(al.explain(found, training).samples), 1)[0]
    assert (own.similarity, training.name in own.path) == (pytest.approx(1, abs=1e-3), True)
