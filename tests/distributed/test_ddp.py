"""DDP with two processes: every clip counts once, and no process outlives the others."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
from running import run

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.batches import EpochBatches, EpochSampler
from audio_lightning.inference.evaluate import evaluate

PROJECT = Path(__file__).parents[2]

in_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the second process in /proc")


def shares(sampler: EpochSampler, size: int, processes: int, *, training: bool) -> list[list[list[int]]]:
    """The clips of every batch of every process."""
    divided = []
    for rank in range(processes):
        batches = EpochBatches(sampler, size, training=training, rank=rank, processes=processes)
        divided.append([draw.index.tolist() for draw in batches])
        assert len(divided[-1]) == len(batches)
    return divided


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("clips", [0, 1, 3, 4, 5, 7, 12, 24, 25, 26, 27, 31])
def test_training_divides_every_step_equally(clips: int, processes: int) -> None:
    sampler = EpochSampler(clips, seed=0, shuffle=True)
    sampler.set_epoch(3)
    divided = shares(sampler, 4, processes, training=True)
    for step in zip(*divided, strict=True):
        assert len({len(batch) for batch in step}) == 1
        assert 1 < len(step[0]) <= 4 or len(divided[0]) == 1
    trained = [clip for batches in divided for batch in batches for clip in batch]
    assert len(trained) == len(set(trained))
    # Fewer than the processes cannot be divided, and one for each makes no batch beside others.
    assert clips - len(trained) < (2 * processes if divided[0] else max(1, processes))
    if len(trained) >= 4 * processes:  # a step has the clips that one process would have in as large a batch
        assert {clip for batches in divided for clip in batches[0]} == {*sampler.order()[: 4 * processes].tolist()}


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_balanced_sampling_is_one_draw_that_is_divided(processes: int) -> None:
    classes = np.array([0] * 90 + [1] * 6)
    sampler = EpochSampler(96, seed=1, shuffle=True, classes=classes)
    divided = shares(sampler, 8, processes, training=True)
    drawn = [clip for batches in divided for batch in batches for clip in batch]
    assert sorted(drawn) == sorted(sampler.order())
    for batches in divided:
        assert classes[np.concatenate(batches)].mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("clips", [0, 1, 3, 4, 5, 9, 24, 25])
def test_evaluation_has_every_clip_once_in_the_same_batches(clips: int, processes: int) -> None:
    sampler = EpochSampler(clips, seed=0, shuffle=False)
    divided = shares(sampler, 4, processes, training=False)
    assert len({len(batches) for batches in divided}) == 1
    together = [batch for turn in zip(*divided, strict=True) for batch in turn if batch]
    assert together == [list(range(start, min(start + 4, clips))) for start in range(0, clips, 4)]


def test_the_data_module_divides_among_the_processes_of_its_trainer(tiny_urbansound8k: Path) -> None:
    settings = [line for line in tiny.TRAIN_OVERRIDES if line.startswith("data.")]
    config = compose(
        quote_paths(
            [
                "data=urbansound8k",
                f"data.root={tiny_urbansound8k}",
                *settings,
                "data.resident=false",
                "data.batch_size=3",
            ]
        )
    )
    clips: dict[str, list[int]] = {"train": [], "test": []}
    for rank in range(2):
        data = build(config.data, AudioDataModule, where="data")
        data.setup()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, overfit_batches=0)
        for split, loader in (("train", data.train_dataloader()), ("test", data.test_dataloader())):
            clips[split] += [clip for batch in loader for clip in batch["clip"].tolist()]
    for split, found in clips.items():
        assert sorted(found) == data.numbers(split).tolist()
    data.trainer = SimpleNamespace(global_rank=0, world_size=19, overfit_batches=0)
    with pytest.raises(DataError, match="18 training clips for 19 devices"):
        data.train_dataloader()


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(PROJECT / "train.py"), *arguments]


def start(data: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A long training on two processes that has had its first epoch, and the second process."""
    options = [
        *tiny.TRAIN_OVERRIDES,
        "trainer=ddp_sim",
        "trainer.max_epochs=100000",
        "scheduler=none",
        "data.batch_size=5",
        "metrics=[auroc,calibration_error]",
    ]
    arguments = command("data=urbansound8k", f"data.root={data}", *options, f"hydra.run.dir={folder}")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints/last.ckpt").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (second,) = [int(child) for child in children if "audio_lightning" in Path(f"/proc/{child}/cmdline").read_text()]
    return process, second


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def stop(folder: Path, data: Path, *, first: bool, by: int) -> tuple[int, str]:
    """End a training by a signal to one of its processes: the exit code of the first and what it said."""
    process, second = start(data, folder)
    os.kill(process.pid if first else second, by)
    _, error = process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while not gone(second):
        assert time.monotonic() < deadline, "it was left behind"
        time.sleep(0.1)
    assert not (folder / "metrics.json").exists()
    return process.returncode, error


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run folder of a training on two processes; the second was killed, and the training resumed."""
    root = tmp_path_factory.mktemp("two")
    folder = root / "run (ö)=1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(root / "cache"))
        data = tiny.write_urbansound8k(root / "data", clips=4)
        code, error = stop(folder, data, first=False, by=signal.SIGKILL)
        assert code == 1, error
        assert "error: the process of device 1 (of 0 to 1) was killed by SIGKILL; continue with: python train" in error
        assert "Traceback" not in error
        epochs = len(pd.read_csv(folder / "history.csv")) + 2
        arguments = command(f"resume={folder}", f"trainer.max_epochs={epochs}")
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("run folder: ") == done.stdout.count(f"epoch {epochs}/{epochs} ") == 1
        yield folder


@in_proc
def test_a_run_is_written_once_and_resumed(two: Path) -> None:
    assert not list(two.rglob("*ddp*")), "each process has a log of its own"
    history = pd.read_csv(two / "history.csv")
    assert list(history["epoch"]) == list(range(1, len(history) + 1))
    # 24 clips in steps of 2 x 5: two steps of 10, and one of 4.
    assert list(history["step"]) == list(3 * history["epoch"])
    hits = history["train/accuracy"] * 24
    assert hits.to_numpy() == pytest.approx(hits.round().to_numpy()), "not all clips were counted, or not once"
    assert json.loads((two / "metrics.json").read_text())["devices"] == 2


@in_proc
def test_the_test_equals_that_of_one_process(two: Path, tmp_path: Path) -> None:
    evaluate(two, [], output=tmp_path)
    alone, together = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, two))
    assert {name for name in alone if name.startswith("test/")} == {n for n in together if n.startswith("test/")}
    assert alone.pop("num_train_overlap") == 0
    assert alone.pop("warnings") in together["warnings"].replace("validation 4, ", "")  # it knows the test part alone
    for name in alone:
        assert together[name] == pytest.approx(alone[name], abs=1e-6)
    found, expected = (pd.read_csv(folder / "predictions.csv") for folder in (two, tmp_path))
    pd.testing.assert_frame_equal(found, expected, atol=1e-6)
    tables = [(folder / "per_class.csv").read_text() for folder in (two, tmp_path)]
    assert tables[0] == tables[1]
    best = pd.read_csv(two / "history.csv").set_index("epoch").loc[together["best_epoch"]]
    config = ["data.split=folds", f"data.test_fold={together['validation_fold']}"]
    validated = evaluate(two, config).metrics
    for name in ("accuracy", "f1_macro"):  # the loss of a test is that of calibrated probabilities
        assert best[f"validation/{name}"] == pytest.approx(validated[f"test/{name}"], abs=1e-6)


@in_proc
@pytest.mark.parametrize(
    ("by", "code", "message"),
    [
        (signal.SIGTERM, 143, "interrupted; continue with: python train.py resume="),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
@pytest.mark.full
def test_no_process_outlives_the_first(
    tiny_urbansound8k: Path, tmp_path: Path, by: int, code: int, message: str
) -> None:
    found, error = stop(tmp_path / "run", tiny_urbansound8k, first=True, by=by)
    assert found == code
    assert error.startswith(message)
    assert "Traceback" not in error


def test_a_strategy_that_forks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.strategy=ddp_spawn: expected a strategy that starts processes"):
        run(
            tiny.write_urbansound8k(tmp_path / "data"),
            tmp_path / "run",
            "trainer=ddp_sim",
            "trainer.strategy=ddp_spawn",
        )
