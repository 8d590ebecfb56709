"""Clips per second of training, compared with the network alone: see `gpu.py`."""

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import soundfile
import torch
import torchaudio
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import check_config, compose
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.run import train

RATE, CLASSES, N_MELS = 16_000, 35, 64
WAYS = {
    "fp32": [],
    "bf16": ["trainer.precision=bf16-mixed"],
    "bf16 compiled": ["trainer.precision=bf16-mixed", "compile=true"],
}
PARTIALS = 3


def rates(arguments: argparse.Namespace) -> None:
    """Print the rates, and write them to the file of `--json`."""
    gpu = torch.cuda.is_available()
    clips = arguments.clips or (105_000 if gpu else 1_750)
    batch_size = arguments.batch_size or (256 if gpu else 32)
    workers = arguments.workers or (16 if gpu else os.cpu_count() or 1)
    batches = arguments.batches or (200 if gpu else 10)
    device = torch.device("cuda" if gpu else "cpu")
    name = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; {clips:,} clips of 1 s, batches of {batch_size}, {workers} workers")
    results: dict[str, Any] = {"device": name, "clips": clips, "batch_size": batch_size}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = time.perf_counter()
        generate(root / "sounds", clips)
        print(f"generated in {time.perf_counter() - started:.0f} s", flush=True)
        common = [
            "data=folder", f"data.root={root / 'sounds'}", "data.clip_seconds=1.0", f"data.sample_rate={RATE}",
            f"data.batch_size={batch_size}", "feature=logmel", f"feature.n_mels={N_MELS}",
            f"data.cache_dir={root / 'cache'}", "plots=false", f"trainer={'gpu' if gpu else 'cpu'}",
        ]  # fmt: skip
        print(f"{'':<26}{'(a) loader':>12}{'(b) ours':>12}{'(c) network':>12}{'b / a':>8}{'b / c':>8}  clips/s")
        for model, way in itertools.product(arguments.models.split(","), arguments.ways.split(",")):
            config = compose([*common, f"model={model}", "trainer.max_epochs=3", *WAYS[way]])
            check_config(config)
            run = RunFolder(root / f"{model} {way}")
            ours = fastest_epoch(config, run)
            classifier = AudioClassifier.load_from_checkpoint(run.best).to(device)
            if config.get("compile"):
                classifier.network.compile()
            alone = network_rate(classifier, config, device, batches)
            files = sorted((root / "sounds").glob("*/*.wav"))
            loader = loader_rate(classifier, config, device, files, workers, batches)
            results[f"{model} {way}"] = {"loader": loader, "ours": ours, "network": alone}
            print(
                f"{model + ' ' + way:<26}{loader:>12,.0f}{ours:>12,.0f}{alone:>12,.0f}{ours / loader:>8.2f}"
                f"{ours / alone:>8.2f}",
                flush=True,
            )
        if not arguments.no_accuracy:
            model = arguments.models.split(",")[0]
            config = compose([*common, f"model={model}", "trainer.max_epochs=30", *WAYS["bf16"]])
            found = seconds_to(arguments.accuracy, config, RunFolder(root / "to accuracy"))
            results["seconds_to_accuracy"] = {"model": model, "accuracy": arguments.accuracy, "found": found}
            reached = f"after {found[0]} epochs, {found[1]:.1f} s" if found else "not reached in 30 epochs"
            print(f"{model} bf16, seed 0: validation accuracy {arguments.accuracy:g} {reached}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


def generate(root: Path, clips: int) -> None:
    """Generate words: each class glides between its own formants; pitch, position and level vary."""
    random = np.random.default_rng(0)
    time_ = np.arange(RATE) / RATE
    formants = random.uniform(200.0, 4_000.0, (CLASSES, 2, PARTIALS))  # hertz, at the beginning and at the end
    for number in range(clips):
        label = number % CLASSES
        folder = root / f"word{label:02}"
        folder.mkdir(parents=True, exist_ok=True)
        begin, end = formants[label] * random.uniform(0.9, 1.1)
        place, length = random.uniform(0.0, 0.4), random.uniform(0.3, 0.6)
        course = np.clip((time_ - place) / length, 0.0, 1.0)
        phase = 2 * np.pi * np.cumsum(begin[:, None] + (end - begin)[:, None] * course, axis=1) / RATE
        loudness = np.sin(np.pi * course) * random.uniform(0.05, 0.3)
        sound = loudness * np.sin(phase).mean(axis=0) + 0.02 * random.standard_normal(RATE)
        soundfile.write(folder / f"{number:06}.wav", sound.astype(np.float32), RATE, subtype="PCM_16")


def fastest_epoch(config: DictConfig, folder: RunFolder) -> float:
    """Clips per second of a training by the program, in its fastest epoch after the first."""
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = train(config, folder)
    with folder.history.open(newline="") as file:
        seconds = [float(row["training_seconds"]) for row in csv.DictReader(file)]
    return int(metrics["num_clips/train"]) / min(seconds[1:])


def network_rate(classifier: AudioClassifier, config: DictConfig, device: torch.device, batches: int) -> float:
    """Clips per second of the network on spectrograms in the device's memory."""
    size = config.data.batch_size
    with torch.no_grad():
        waveform = 0.1 * torch.randn(size, classifier.task.num_samples, device=device)
        ready = [
            (classifier.arranged(classifier.front_end(waveform)), torch.randint(CLASSES, (size,), device=device))
            for _ in range(4)
        ]
    return steps_per_second(classifier, config, itertools.islice(itertools.cycle(ready), batches + WARM_UP), device)


class PerClip(Dataset):
    """Data set with soundfile and torchaudio, clip by clip."""

    def __init__(self, files: list[Path], frames: int) -> None:
        self.files, self.frames = files, frames
        sizes = {"win_length": round(0.025 * RATE), "hop_length": round(0.01 * RATE), "n_fft": 512}
        self.mel = torchaudio.transforms.MelSpectrogram(RATE, n_mels=N_MELS, **sizes)
        self.decibel = torchaudio.transforms.AmplitudeToDB(top_db=80)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        samples, _ = soundfile.read(self.files[index], dtype="float32")
        return self.decibel(self.mel(torch.from_numpy(samples)))[None, :, : self.frames], index % CLASSES


def loader_rate(
    classifier: AudioClassifier, config: DictConfig, device: torch.device, files: list[Path], workers: int, batches: int
) -> float:
    """Clips per second of the network with a DataLoader that reads and transforms every clip."""
    frames = classifier.front_end.output_shape.dims[-1]
    loader = DataLoader(
        PerClip(files, frames),
        config.data.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=one_thread,
    )

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for features, target in loader:
                yield classifier.arranged(features.to(device)), target.to(device)

    return steps_per_second(classifier, config, itertools.islice(endless(), batches + WARM_UP), device)


def one_thread(_: int) -> None:
    torch.set_num_threads(1)


WARM_UP = 5
"""Warm-up steps before the measurement, in which workers start and kernels are chosen."""


def steps_per_second(
    classifier: AudioClassifier, config: DictConfig, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> float:
    """Clips per second of training steps without Lightning."""
    network = classifier.network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    half = config.trainer.precision == "bf16-mixed"
    started, clips = 0.0, 0
    for number, (features, target) in enumerate(batches):
        if number == WARM_UP:
            _wait(device)
            started, clips = time.perf_counter(), 0
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = torch.nn.functional.cross_entropy(network(features), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clips += len(target)
    _wait(device)
    return clips / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


class Until(Callback):
    """Stop the training when the validation accuracy is reached."""

    def __init__(self, accuracy: float) -> None:
        self.accuracy, self.reached = accuracy, False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if float(trainer.callback_metrics["validation/accuracy"]) >= self.accuracy:
            self.reached = trainer.should_stop = True


def seconds_to(accuracy: float, config: DictConfig, folder: RunFolder) -> tuple[int, float] | None:
    """Epochs and seconds of training and validation to reach the accuracy, or None."""
    check_config(config)
    until = Until(accuracy)
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = train(config, folder, callbacks=[until])
    return (int(metrics["epochs"]), float(metrics["seconds"])) if until.reached else None
