"""``data.channel``: decoding, clips, training and predictions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch
from running import run

from audio_lightning.audio import Levels, cancel, describe, load, windows
from audio_lightning.config import build, compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.problems import ProblemsError
from audio_lightning.data.store import recordings
from audio_lightning.inference.embed import embed
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.predict import predict


def write_stereo(root: Path) -> Path:
    """Class folders: the sound is in the right channel, noise of equal level in the left one."""
    tiny.write_folder(root)
    rng = np.random.default_rng(1)
    for file in sorted(root.rglob("*.wav")):
        samples, rate = soundfile.read(file, dtype="float32")
        noise = 0.1 * rng.normal(size=len(samples)).astype(np.float32)
        soundfile.write(file, np.stack([noise, samples], axis=1), rate, subtype="FLOAT")
    return root


def source(root: Path, *overrides: str) -> AudioDataModule:
    config = compose(
        ["data=folder", f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25", *overrides]
    )
    return build(config.data, AudioDataModule, where="data")


def ready(root: Path, *overrides: str) -> AudioDataModule:
    datamodule = source(root, *overrides)
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize(("channel", "index"), [("left", 0), ("right", 1), ("1", 0), ("2", 1)])
def test_the_channel_is_decoded_and_kept_apart_in_the_cache(channel: str, index: int, tmp_path: Path) -> None:
    root = write_stereo(tmp_path / "data")
    mean, one = ready(root), ready(root, f"data.channel={channel}")
    again = ready(root)
    for row, path in enumerate(one.manifest.table["path"]):
        samples, _ = soundfile.read(root / path, dtype="float32")
        np.testing.assert_array_equal(one.audio[row], samples[:, index])
        np.testing.assert_allclose(mean.audio[row], samples.mean(axis=1), atol=1e-7)
        np.testing.assert_array_equal(again.audio[row], mean.audio[row])
    np.testing.assert_array_equal(mean.content, one.content, "they are the same recordings")


def test_each_channel_is_a_clip_of_the_same_group(tmp_path: Path) -> None:
    root = write_stereo(tmp_path / "data")
    mono = sorted(root.rglob("*.wav"))[0]
    soundfile.write(mono, soundfile.read(mono)[0][:, 1], 8000, subtype="FLOAT")
    for split in ("stratified", "grouped"):
        pattern = ["data.group_pattern='[0-9]+'"] if split == "grouped" else []
        each = ready(root, "data.channel=each", f"data.split={split}", *pattern)
        table = each.manifest.table
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.wav"))
        assert len(table) == 2 * len(files) - 1
        assert len(table[["path", "split", "group"]].drop_duplicates()) == len(files), "none is divided"
        for row, (path, channel) in enumerate(zip(table["path"], table["channel"])):
            samples, _ = soundfile.read(root / path, dtype="float32", always_2d=True)
            np.testing.assert_array_equal(each.audio[row], samples[:, channel - 1])


def test_missing_channel_is_a_problem_of_single_recordings(tmp_path: Path) -> None:
    root = write_stereo(tmp_path / "data")
    with pytest.raises(ProblemsError, match=r"has 2 channels, but data.channel=3 needs number 3"):
        ready(root, "data.channel=3")
    with pytest.raises(ConfigError, match=r"data.channel=0: no such channel"):
        source(root, "data.channel=0")
    with pytest.raises(ConfigError, match=r"data.channel='middle': expected mean \| left \| right \| each"):
        source(root, "data.channel=middle")


@pytest.mark.parametrize("channel", ["right", "each"])
def test_prediction_uses_the_channel_of_the_training(channel: str, tmp_path: Path) -> None:
    root = write_stereo(tmp_path / "data")
    metrics = run(root, tmp_path / "run", "data=folder", f"data.channel={channel}", "trainer.max_epochs=2")
    expected = pd.read_csv(tmp_path / "run/predictions.csv")
    shares = [f"probability {name}" for name in tiny.CLASSES]
    by_file = expected.groupby("path")[shares].mean()
    assert (expected.groupby("path").size() == (2 if channel == "each" else 1)).all()
    classifier = load_classifier(tmp_path / "run")
    files = [root / path for path in by_file.index]
    found = [prediction.probabilities for prediction in predict(classifier, files, batch_size=3)]
    np.testing.assert_allclose(found, by_file.to_numpy(), atol=1e-5)
    for file, embedding in zip(files, embed(classifier, files)):
        samples = soundfile.read(file, dtype="float32")[0].T
        used = samples[1:] if channel == "right" else samples
        padded = np.pad(used, ((0, 0), (0, 2000 - used.shape[1])))
        with torch.inference_mode():
            vectors = classifier.embed(torch.from_numpy(padded))
        np.testing.assert_allclose(embedding.vector, vectors.mean(dim=0).numpy(), atol=1e-5)
    again = evaluate(tmp_path / "run").metrics
    assert again["num_clips/test"] == metrics["num_clips/test"] == len(expected)
    assert again["test/accuracy"] == pytest.approx(metrics["test/accuracy"])
    elsewhere = evaluate(tmp_path / "run", ["data=folder", f"data.root={root}"]).metrics
    assert elsewhere["num_clips/test"] == (2 if channel == "each" else 1) * len(list(root.rglob("*.wav")))


@pytest.mark.parametrize("channel", ["middle", 0, -3, True, 1.5, None, [1]])
def test_checkpoint_with_an_invalid_channel_is_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch, channel: object
) -> None:
    classifier = load_classifier(trained)
    monkeypatch.setitem(classifier.config["data"], "channel", channel)
    with pytest.raises(
        ConfigError, match=r"^data.channel=.*: no such channel; expected mean, left, right, each, or a number from 1"
    ):
        predict(classifier, [Path("a.wav")])


def invert(root: Path, *names: str) -> None:
    """Give recordings a second channel that cancels the first."""
    for file in sorted(path for path in root.rglob("*.wav") if not names or path.parent.name in names):
        samples, rate = soundfile.read(file, dtype="float32")
        soundfile.write(file, np.stack([samples, -samples], axis=1), rate, subtype="FLOAT")


def test_cancelling_channels_are_reported_wherever_the_mean_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = tiny.write_folder(tmp_path / "data")
    invert(root, "noise")
    metrics = run(root, tmp_path / "run", "data=folder", "trainer.max_epochs=1")
    first = min(path.relative_to(root).as_posix() for path in root.rglob("noise/*.wav"))
    sentence = f"10 recordings have channels that cancel, so that their mean is nearly silent (such as {first}); use"
    said = [line for line in capsys.readouterr().out.splitlines() if "cancel" in line]
    assert len(said) == 1
    assert said[0].startswith(f"warning: {sentence}")
    assert "data.channel=left" in said[0]
    assert sentence in metrics["warnings"]
    assert sentence in evaluate(tmp_path / "run", ["data=folder", f"data.root={root}"]).metrics["warnings"]

    classifier = load_classifier(tmp_path / "run")
    caplog.clear()
    list(predict(classifier, sorted(root.rglob("*.wav"))))
    (warning,) = [record.getMessage() for record in caplog.records if "cancel" in record.getMessage()]
    assert warning.startswith(
        f"10 recordings have channels that cancel, so that their mean is nearly silent (such as {root / first})"
    )
    caplog.clear()
    list(predict(classifier, sorted(root.rglob("*_tone/*.wav"))))
    assert "cancel" not in caplog.text

    run(root, tmp_path / "left", "data=folder", "trainer.max_epochs=1", "data.channel=left")
    assert "cancel" not in capsys.readouterr().out
    caplog.clear()
    list(predict(load_classifier(tmp_path / "left"), sorted(root.rglob("*.wav"))))
    assert "cancel" not in caplog.text


@pytest.mark.parametrize(
    ("second", "expected"),
    [(lambda first: -first, True), (lambda first: -0.99 * first, True), (lambda first: -0.5 * first, False),
     (lambda first: first, False), (lambda first: np.zeros_like(first), False), (lambda first: first[::-1], False)],
    ids=["inverted", "nearly", "half", "equal", "one is silent", "independent"],
)  # fmt: skip
@pytest.mark.parametrize("seconds", [1.0, 30.0], ids=["one block", "many blocks"])
def test_levels_are_those_of_the_whole_recording(
    tmp_path: Path, second: Callable[[np.ndarray], np.ndarray], expected: bool, seconds: float
) -> None:
    first = 0.3 * np.random.default_rng(0).normal(size=round(8000 * seconds)).clip(-1, 1)
    soundfile.write(tmp_path / "a.wav", np.stack([first, second(first)], axis=1), 8000, subtype="FLOAT")
    levels = Levels()
    for _ in windows(tmp_path / "a.wav", 8000, window_samples=8000, hop_samples=8000, levels=levels):
        pass
    assert levels.cancel == expected
    mean = load(tmp_path / "a.wav", 8000)
    assert (
        bool(
            cancel(
                2, 1.0, float(np.sqrt(np.mean(np.stack([first, second(first)]) ** 2))), float(np.sqrt(np.mean(mean**2)))
            )
        )
        == expected
    )


def test_channels_are_counted_without_opening_what_the_cache_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_stereo(tmp_path / "data")
    opened: list[Path] = []
    monkeypatch.setattr(recordings, "describe", lambda path: opened.append(path) or describe(path))
    first = ready(root, "data.channel=each")
    files = len(list(root.rglob("*.wav")))
    assert len(opened) == files
    again = ready(root, "data.channel=each")
    assert len(opened) == files
    pd.testing.assert_frame_equal(first.manifest.table, again.manifest.table)

    changed = min(root.rglob("*.wav"))
    soundfile.write(changed, soundfile.read(changed)[0][:, 1], 8000, subtype="FLOAT")
    mono = ready(root, "data.channel=each")
    assert len(opened) == files + 1
    assert len(mono.manifest.table) == len(first.manifest.table) - 1
    ready(root, "data.channel=each", "data.cache_identity=content")
    assert len(opened) == 2 * files + 1
