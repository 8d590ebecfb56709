"""Trials an hour of fused trials and of separate processes: `python benchmarks/fused.py [--fuse 2,4,8] [--publish]`.

The same trials of one network on the demo data, which differ in their seed, by `python sweep.py` with `sweep.fuse=1`
(a process for each trial, one on each core) and with larger groups: in one process that has all cores, and in a process
for each core. The time is that of the whole command, from its start to the leaderboard. On a GPU it is measured by
`python benchmarks/gpu.py --fused`.

`python benchmarks/fused.py --table` finds out which choices of `model` can be fused, and writes the table of
docs/how-to/fused-trials.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from publishing import PROJECT, hardware, publish

sys.path.insert(0, str(PROJECT))

PAGE = PROJECT / "docs/how-to/fused-trials.md"
BEGIN, END = "<!-- begin: benchmarks/fused.py --table -->", "<!-- end -->"

TRAINING = ("data=demo", "data.sample_rate=8000", "feature=logmel", "plots=false", "logger=none")
"""Settings of the trials, beside the network and the epochs."""

PACKAGES = {"timm": "timm"}
"""By model, the package that it needs and that is not always installed."""

EMBEDDED = ("probe", "centroid", "knn")
"""Models for feature=embedding."""


@dataclass(frozen=True)
class Way:
    """A way to run the trials: most trials of a group, and groups at once."""

    fuse: int
    at_once: int


@dataclass(frozen=True)
class Measured:
    """Trials an hour of a way, with these settings of the trials."""

    settings: str
    fuse: int
    at_once: int
    trials: int
    seconds: float
    trials_an_hour: float


def measure(way: Way, trials: int, settings: Sequence[str], *, gpu: bool = False) -> Measured:
    """Run a sweep of ``trials`` seeds in a temporary folder."""
    at_once = f"sweep.trials_per_gpu={way.at_once}" if gpu else f"sweep.workers={way.at_once}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "sweep.py", *TRAINING, *settings, f"seed=range(0,{trials})", at_once]
        command += [f"sweep.fuse={way.fuse}", f"sweep.dir={folder}/sweep", "sweep.reuse=false", "sweep.plots=none"]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode or f"{trials} done" not in done.stdout:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        if "trained one trial per process" in done.stdout:
            raise SystemExit(next(line for line in done.stdout.splitlines() if "trained one trial per process" in line))
    return Measured(
        " ".join(settings), way.fuse, way.at_once, trials, round(seconds, 1), round(3600 * trials / seconds, 1)
    )


def compare(ways: Sequence[Way], trials: int, settings: Sequence[str], *, gpu: bool = False) -> list[Measured]:
    """Measure each way and print it; the first one is what the others are compared with.

    Args:
        ways: to run trials.
        trials: least number of them; a way with larger groups has as many as fill them.
        settings: overrides of the trials.
        gpu: whether ``at_once`` counts processes of one GPU.
    """
    found: list[Measured] = []
    measure(Way(1, 1), 1, [*settings, "trainer.max_epochs=1"], gpu=gpu)  # makes the demo data and decodes it
    print(" ".join(settings))
    print(f"{'fuse':>6}{'at once':>9}{'trials':>8}{'seconds':>10}{'trials/h':>11}{'factor':>8}")
    for way in ways:
        found.append(measure(way, max(trials, way.fuse * way.at_once), settings, gpu=gpu))
        last, factor = found[-1], found[-1].trials_an_hour / found[0].trials_an_hour
        print(
            f"{last.fuse:>6}{last.at_once:>9}{last.trials:>8}{last.seconds:>10.1f}{last.trials_an_hour:>11.1f}"
            f"{factor:>8.2f}",
            flush=True,
        )
    return found


def on_gpu(model: str, epochs: int, file: Path | None) -> None:
    """Measure 1, 4, 16 and 64 fused trials and several processes on one GPU, in both memory formats.

    Which format has the faster grouped convolutions depends on the GPU.
    """
    ways = [Way(1, 1), Way(1, 4), Way(1, 8), Way(4, 1), Way(16, 1), Way(64, 1), Way(16, 4)]
    found: list[Measured] = []
    for channels_last in ("true", "false"):
        settings = [f"model={model}", f"channels_last={channels_last}", f"trainer.max_epochs={epochs}", "trainer=gpu"]
        found += compare(ways, 16, settings, gpu=True)
    write(found, file)


def write(found: Sequence[Measured], file: Path | None) -> None:
    """Write the figures to a file, where one is named."""
    if file is not None:
        file.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")


def publish_table(found: Sequence[Sequence[Measured]]) -> None:
    """Write the table of the docs."""
    rows = [
        {
            "trials": f"`{one.settings}`",
            "fused": "separate" if one.fuse == 1 else str(one.fuse),
            "processes": str(one.at_once),
            "trials an hour": f"{one.trials_an_hour:.0f}",
            "factor": f"{one.trials_an_hour / each[0].trials_an_hour:.2f}",
            "data": "demo",
            "split": "as the demo has it",
            "seed": f"0 to {each[0].trials - 1}",
            "hardware": hardware(),
            "command": "`python benchmarks/fused.py`",
        }
        for each in found
        for one in each
    ]
    publish("fused", rows)


def table() -> list[str]:
    """Rows of the table of architectures, in Markdown."""
    rows = ["| `model=` | fused | |", "|---|---|---|"]
    rows += [f"| `{name}` | {'yes' if fits else 'no'} | {note} |" for name, fits, note in architectures()]
    return rows


def architectures() -> Iterator[tuple[str, bool, str]]:
    """Every choice of ``model``: its name, whether it can be fused, and a note."""
    import torch
    from torch import nn

    from audio_lightning.classifier.factory import build_front_end, build_network
    from audio_lightning.config import as_plain, compose
    from audio_lightning.config.location import choices
    from audio_lightning.core.task import AudioTask
    from audio_lightning.training.fusion.check import reason_of_network

    for name in choices("model"):
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            continue
        lines = ["data=demo", f"model={name}", *input_of(name)]
        config = as_plain(compose(lines))
        data = config["data"]
        task = AudioTask(("a", "b"), data["sample_rate"], round(data["clip_seconds"] * data["sample_rate"]), "zero")
        with warnings.catch_warnings(action="ignore"):
            reason = reason_of_network(config, task)
            with torch.device("meta"):
                network = build_network(config, build_front_end(config, task).output_shape, task)
        recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())
        yield name, reason is None, reason or ("recurrent layers one member after another" if recurrent else "")


def input_of(name: str) -> list[str]:
    """Overrides of the feature for a model."""
    from audio_lightning.config import as_plain, compose, resolve
    from audio_lightning.models.base import AudioModel

    if name in EMBEDDED:
        return ["feature=embedding", "feature.pretrained=false"]
    node: Any = as_plain(compose(["data=demo", f"model={name}"]))["model"]
    if resolve(node["_target_"], AudioModel, where="model").input_kind == "spectrogram":
        return ["feature=logmel"]
    return ["feature=waveform", *(["model.pretrained=null"] if name == "published" else [])]


def with_table(page: str, rows: Sequence[str]) -> str:
    """A page with these rows between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + "\n".join([BEGIN, "", *rows, "", END]) + after


def main() -> None:
    from audio_lightning.core.cores import cores

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuse", default="2,4,8", help="sizes of groups")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--models", nargs="+", default=["cnn"], help="each with further overrides behind commas: cnn,data.batch_size=16"
    )
    parser.add_argument("--publish", action="store_true", help="write the table of the docs")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--table", action="store_true", help="write the table of architectures instead")
    arguments = parser.parse_args()
    if arguments.table:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
        return
    sizes = [int(size) for size in arguments.fuse.split(",")]
    ways = [Way(1, cores())] + [Way(size, at_once) for size in sizes for at_once in sorted({1, cores()})]
    found = []
    for model in arguments.models:
        settings = [*f"model={model}".split(","), f"trainer.max_epochs={arguments.epochs}", "trainer=cpu"]
        found.append(compare(ways, arguments.trials, settings))
    write([one for each in found for one in each], arguments.json)
    if arguments.publish:
        publish_table(found)


if __name__ == "__main__":
    main()
