"""When two trials are the same: content counts, places do not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
from omegaconf import OmegaConf

from audio_lightning.config import build, check_config, compose, quote_paths
from audio_lightning.data.content import fingerprints
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.sweeps.identity import essence, setup_hash, trial_hash


def plain(*overrides: str) -> dict[str, Any]:
    config = compose(quote_paths(overrides))
    check_config(config)
    values: Any = OmegaConf.to_container(config, resolve=True)
    return values


def opened(root: Path, *overrides: str) -> AudioDataModule:
    config = compose(quote_paths(["data=urbansound8k", f"data.root={root}", *overrides]))
    datamodule = build(config.data, AudioDataModule, where="data")
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize(
    "override",
    [
        "logger=none",
        "cache.dir=/elsewhere",
        "plots=false",
        "data.num_workers=2",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "feature_memory_gb=0.0",
        "callbacks=device_stats",
        "trainer=cpu",
    ],
)
def test_where_and_how_fast_it_runs_does_not_count(override: str) -> None:
    assert essence(plain(override)) == essence(plain())


@pytest.mark.parametrize(
    "override",
    [
        "model=lstm",
        "feature=mfcc",
        "optimizer.lr=2e-3",
        "seed=1",
        "trainer.max_epochs=3",
        "trainer.precision=bf16-mixed",
        "trainer.devices=2",
        "data.batch_size=8",
        "data.sampling=balanced",
        "data.test_fold=1",
        "loss.label_smoothing=0.1",
        "monitor=validation/loss",
        "compile=true",
        "find_lr=true",
        "callbacks=ema",
    ],
)
def test_what_changes_the_result_counts(override: str) -> None:
    assert essence(plain(override)) != essence(plain())


def test_what_is_searched_does_not_count() -> None:
    found = ["find_lr=true", "find_batch_size=true"]
    assert essence(plain(*found)) == essence(plain(*found, "optimizer.lr=0.5", "data.batch_size=2"))
    assert essence(plain(found[0])) != essence(plain(found[0], "data.batch_size=2"))


def test_repetitions_have_their_setup_in_common() -> None:
    first, second = plain("seed=0", "data.test_fold=1"), plain("seed=1", "data.test_fold=2")
    assert setup_hash(first, "content") == setup_hash(second, "content")
    assert trial_hash(first, "content", "division") != trial_hash(second, "content", "division")
    assert setup_hash(first, "content") != setup_hash(first, "other content")
    assert setup_hash(first, "content") != setup_hash(plain("model=lstm"), "content")


def test_pretrained_weights_count_by_what_is_in_them(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for file, content in zip(files, (b"weights", b"weights", b"others")):
        file.write_bytes(content)
    one, same, other = (essence(plain("model=resnet", f"model.pretrained={file}")) for file in files)
    assert one == same != other


def test_a_moved_copy_is_the_same_and_other_recordings_are_not(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_urbansound8k, copy)
    original = fingerprints(opened(tiny_urbansound8k))
    assert fingerprints(opened(copy)) == original
    recording = next((copy / "audio").rglob("*.wav"))
    samples, rate = soundfile.read(recording)
    soundfile.write(recording, -samples, rate)
    content, division = fingerprints(opened(copy))
    assert content != original[0]
    assert division != original[1]


def test_divisions_differ_by_fold_and_the_content_does_not(tiny_urbansound8k: Path) -> None:
    first, second = (fingerprints(opened(tiny_urbansound8k, f"data.test_fold={fold}")) for fold in (1, 2))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_labels_count(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_urbansound8k, copy)
    table = next((copy / "metadata").glob("*.csv"))
    lines = table.read_text().splitlines()
    relabelled = ",".join([*lines[1].split(",")[:-2], *lines[-1].split(",")[-2:]])
    assert relabelled != lines[1]
    table.write_text("\n".join([lines[0], relabelled, *lines[2:]]) + "\n")
    assert fingerprints(opened(copy))[0] != fingerprints(opened(tiny_urbansound8k))[0]
