"""Clips per second of one epoch, compared with common alternatives; all train the same small network.

    python benchmarks/data.py urbansound8k=DIR speech_commands=DIR instruments=DIR

(a) usual in notebooks: librosa loads a clip and computes its log-mel spectrogram in `__getitem__`; no workers
(b) soundfile and torchaudio for each clip, in a DataLoader with 2 workers
(c) ours, cold: recordings are decoded first
(d) ours, warm: a later epoch in Lightning, with the features cached in the first one, as in `train.py`
(e) upper bound: the same front end and network in a plain loop over batches of waveforms in memory
(f) stricter upper bound: only the network, in a plain loop over batches of log-mel spectrograms in memory

The input pipeline alone is also measured: (a) and ours, with and without the log-mel spectrogram.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import librosa
import lightning.pytorch as pl
import numpy as np
import soundfile
import torch
import torchaudio
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import build, check_config, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.features.memory import FeatureMemory
from audio_lightning.training.allocator import keep_freed_memory
from audio_lightning.training.trainer import silence_lightning

SETTINGS = {
    "urbansound8k": ["data=urbansound8k", "data.test_fold=3", "data.validation_fold=2"],
    "speech_commands": ["data=speech_commands", "data.task=12", "data.split=speaker"],
    "instruments": ["data=instruments", "data.sampling=uniform"],
}
N_MELS = 64
COMPARED = [
    ("(d) warm / (e) ceiling", "(d) ours, warm", "(e) ceiling: waveforms in memory"),
    ("(d) warm / (f) harder ceiling", "(d) ours, warm", "(f) log-mels in memory"),
    ("features recomputed / (e) ceiling", "(d) if features were recomputed", "(e) ceiling: waveforms in memory"),
    ("(c) cold / (b)", "(c) ours, cold", "(b) soundfile, torchaudio, 2 workers"),
    ("input alone, ours / (a)", "input: ours", "input: (a) librosa"),
    ("with log-mel, ours / (a)", "input: ours with log-mel", "input: (a) librosa with log-mel"),
    ("the same in later epochs", "input: ours with log-mel, later epochs", "input: (a) librosa with log-mel"),
]
MOST_SLOW_CLIPS = 400
"""Number of clips in an epoch of (a), limited because it is slow."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    silence_lightning()
    keep_freed_memory()  # for all alternatives alike
    results = {}
    for pair in arguments.data:
        name, _, root = pair.partition("=")
        results[name] = measure(name, root, arguments.repeats)
        show(name, results[name])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


def show(name: str, found: dict[str, Any]) -> None:
    rate = found["clips_per_second"]
    print(f"\n{name}: {found['clips']} training clips of {found['clip_seconds']:g} s, batches of {found['batch_size']}")
    for label, value in rate.items():
        print(f"  {label:<46}{value:>12,.0f} clips/s")
    for text, ours, theirs in COMPARED:
        print(f"  {text:<46}{rate[ours] / rate[theirs]:>12,.2f}", flush=True)


def measure(name: str, root: str, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        settings = [
            *SETTINGS[name],
            f"data.root={root}",
            "feature=logmel",
            f"feature.n_mels={N_MELS}",
            f"data.cache_dir={cache}",
            "trainer=cpu",
        ]
        config = compose(quote_paths(settings))
        check_config(config)

        def fresh() -> AudioDataModule:
            return build(config.data, AudioDataModule, where="data")

        datamodule = fresh()
        started = time.perf_counter()
        datamodule.setup()
        decoding = time.perf_counter() - started
        classifier = make_classifier(config, datamodule)
        clips = ClipFiles(datamodule)
        ours = {}
        for _ in range(repeats):
            record(
                ours,
                "(a) librosa in __getitem__",
                *per_clip(clips, librosa_logmel, classifier, workers=0, most=MOST_SLOW_CLIPS),
            )
            record(
                ours,
                "(b) soundfile, torchaudio, 2 workers",
                *per_clip(clips, TorchaudioLogMel(clips), classifier, workers=2),
            )
            warm = lightning_epoch(classifier, datamodule, keep=False)
            ours.setdefault("(c) ours, cold", []).append(len(clips) / (decoding + len(clips) / warm))
            ours.setdefault("(d) if features were recomputed", []).append(warm)
            ours.setdefault("(d) ours, warm", []).append(lightning_epoch(classifier, datamodule, keep=True))
            record(ours, "(e) ceiling: waveforms in memory", *ceiling(classifier, datamodule, features=False))
            record(ours, "(f) log-mels in memory", *ceiling(classifier, datamodule, features=True))
            record(ours, "input: (a) librosa", *input_only(clips, librosa_load, most=MOST_SLOW_CLIPS))
            record(ours, "input: ours", *our_input(datamodule, None))
            record(ours, "input: (a) librosa with log-mel", *input_only(clips, librosa_logmel, most=MOST_SLOW_CLIPS))
            record(ours, "input: ours with log-mel", *our_input(datamodule, classifier))
            record(ours, "input: ours with log-mel, later epochs", *our_input(datamodule, classifier, later=True))
            if len(ours["(d) ours, warm"]) < repeats:  # another cold start, with an empty cache
                fresh().cache.clear()
                datamodule = fresh()
                started = time.perf_counter()
                datamodule.setup()
                decoding = time.perf_counter() - started
    return {
        "clips": len(clips),
        "clip_seconds": datamodule.task.clip_seconds,
        "batch_size": datamodule.batch_size,
        "threads": torch.get_num_threads(),
        "clips_per_second": {label: statistics.median(values) for label, values in ours.items()},
        "all": ours,
    }


def record(results: dict[str, list[float]], label: str, clips: int, seconds: float) -> None:
    results.setdefault(label, []).append(clips / seconds)


def make_classifier(config: DictConfig, datamodule: AudioDataModule) -> AudioClassifier:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain["scheduler"] = {"_target_": None}
    classifier = AudioClassifier(plain, datamodule.task.to_dict(), datamodule.class_counts("train"))
    if classifier.front_end.needs_statistics:
        classifier.front_end.fit(datamodule.sample_waveforms(256, seed=0))
    return classifier.train()


class ClipFiles:
    """Training clips as files and positions in them, for loaders that read clip by clip."""

    def __init__(self, datamodule: AudioDataModule) -> None:
        clips = datamodule.clips.select(datamodule.numbers("train"))
        table = datamodule.manifest.table
        self.rate, self.samples = datamodule.sample_rate, datamodule.num_samples
        self.batch_size = datamodule.batch_size
        self.paths = [str(datamodule.root / path) for path in table["path"].to_numpy()[clips.row]]
        self.starts = (clips.offset / self.rate).tolist()
        self.targets = datamodule.manifest.targets()[clips.row].tolist()
        # The same frames as in our front end: windows of 25 ms every 10 ms.
        self.frames = {"win_length": round(0.025 * self.rate), "hop_length": round(0.01 * self.rate)}
        self.frames["n_fft"] = 2 ** (self.frames["win_length"] - 1).bit_length()

    def __len__(self) -> int:
        return len(self.paths)


def librosa_load(clips: ClipFiles, index: int) -> Tensor:
    seconds = clips.samples / clips.rate
    samples, _ = librosa.load(clips.paths[index], sr=clips.rate, offset=clips.starts[index], duration=seconds)
    return torch.from_numpy(librosa.util.fix_length(samples, size=clips.samples))


def librosa_logmel(clips: ClipFiles, index: int) -> Tensor:
    mel = librosa.feature.melspectrogram(
        y=librosa_load(clips, index).numpy(), sr=clips.rate, n_mels=N_MELS, **clips.frames
    )
    return torch.from_numpy(librosa.power_to_db(mel))[None]


class TorchaudioLogMel:
    """Loader with soundfile and torchaudio, clip by clip."""

    def __init__(self, clips: ClipFiles) -> None:
        self.mel = torchaudio.transforms.MelSpectrogram(clips.rate, n_mels=N_MELS, **clips.frames)
        self.decibel = torchaudio.transforms.AmplitudeToDB(top_db=80)
        self.resamplers: dict[int, torchaudio.transforms.Resample] = {}

    def __call__(self, clips: ClipFiles, index: int) -> Tensor:
        with soundfile.SoundFile(clips.paths[index]) as file:
            rate = file.samplerate
            if clips.starts[index]:
                file.seek(round(clips.starts[index] * rate))
            samples = file.read(round(clips.samples / clips.rate * rate), dtype="float32", always_2d=True)
        waveform = torch.from_numpy(samples.mean(axis=1))
        if rate != clips.rate:
            if rate not in self.resamplers:
                self.resamplers[rate] = torchaudio.transforms.Resample(rate, clips.rate)
            waveform = self.resamplers[rate](waveform)
        waveform = torch.nn.functional.pad(waveform, (0, max(0, clips.samples - len(waveform))))[: clips.samples]
        return self.decibel(self.mel(waveform))[None]


class PerClip(Dataset):
    def __init__(self, clips: ClipFiles, load: Callable[[ClipFiles, int], Tensor], most: int | None) -> None:
        self.clips, self.load = clips, load
        self.order = np.random.RandomState(0).permutation(len(clips))[:most].tolist()

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.load(self.clips, self.order[index]), self.clips.targets[self.order[index]]


def one_thread(_: int) -> None:
    torch.set_num_threads(1)


def per_clip(
    clips: ClipFiles,
    load: Callable[[ClipFiles, int], Tensor],
    classifier: AudioClassifier,
    *,
    workers: int,
    most: int | None = None,
) -> tuple[int, float]:
    dataset = PerClip(clips, load, most)
    loader = DataLoader(dataset, clips.batch_size, num_workers=workers, worker_init_fn=one_thread if workers else None)
    classifier.network(fitted(classifier, dataset[0][0][None]))
    started = time.perf_counter()
    bare_epoch(classifier, ((fitted(classifier, features), target) for features, target in loader))
    return len(dataset), time.perf_counter() - started


def fitted(classifier: AudioClassifier, features: Tensor) -> Tensor:
    """Crop or pad to the network's number of frames, from which other libraries differ by one."""
    frames = classifier.front_end.output_shape.dims[-1]
    features = torch.nn.functional.pad(features, (0, max(0, frames - features.shape[-1])))[..., :frames]
    return features.contiguous(memory_format=classifier.memory_format)


def bare_epoch(classifier: AudioClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    optimizer = torch.optim.AdamW(classifier.network.parameters(), lr=1e-4)
    for features, target in batches:
        loss = torch.nn.functional.cross_entropy(classifier.network(features), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ceiling(classifier: AudioClassifier, datamodule: AudioDataModule, *, features: bool) -> tuple[int, float]:
    ready = [(batch["waveform"], batch["target"]) for batch in datamodule.train_dataloader()]
    with torch.no_grad():
        prepared = (
            [(classifier.arranged(classifier.front_end(waveform)), target) for waveform, target in ready]
            if features
            else []
        )
    bare_epoch(classifier, prepared[:2])
    started = time.perf_counter()
    if features:
        bare_epoch(classifier, prepared)
    else:
        bare_epoch(
            classifier, ((classifier.arranged(classifier.front_end(waveform)), target) for waveform, target in ready)
        )
    return sum(len(target) for _, target in ready), time.perf_counter() - started


class EpochTimes(pl.Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def lightning_epoch(classifier: AudioClassifier, datamodule: AudioDataModule, *, keep: bool) -> float:
    """Clips per second of a training's second epoch; with ``keep``, its features are cached in the first one."""
    classifier.memory = FeatureMemory(torch.from_numpy(~datamodule.clips.background), 4.0) if keep else None
    times = EpochTimes()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=[times],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(classifier, datamodule=datamodule)
    classifier.memory = None
    return len(datamodule.numbers("train")) / times.seconds[-1]


def input_only(clips: ClipFiles, load: Callable[[ClipFiles, int], Tensor], *, most: int) -> tuple[int, float]:
    loader = DataLoader(PerClip(clips, load, most), clips.batch_size)
    started = time.perf_counter()
    count = sum(len(target) for _, target in loader)
    return count, time.perf_counter() - started


def our_input(
    datamodule: AudioDataModule, classifier: AudioClassifier | None, *, later: bool = False
) -> tuple[int, float]:
    """Time an epoch of batches, with features if there is a classifier; ``later``: with cached features."""
    memory = FeatureMemory(torch.from_numpy(~datamodule.clips.background), 4.0)
    with torch.no_grad():
        for _ in range(2 if later else 1):
            started, count = time.perf_counter(), 0
            for batch in datamodule.train_dataloader():
                if classifier and later:
                    memory(batch["clip"], batch["waveform"], classifier.front_end)
                elif classifier:
                    classifier.front_end(batch["waveform"])
                count += len(batch["target"])
    return count, time.perf_counter() - started


if __name__ == "__main__":
    main()
