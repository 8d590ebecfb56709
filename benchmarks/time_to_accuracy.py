"""Test accuracy against the seconds from the command to the result: `python benchmarks/time_to_accuracy.py DATA OUT`.

DATA is a folder with speech_commands, urbansound8k and instruments. Programs are compared on the same divisions:
words by speaker and instruments by note, a division for each seed; of UrbanSound8K, fold ``seed % 3 + 1`` is tested.
Every point of a curve is a whole training with a schedule of its own: the number of epochs of the program times 1/8,
1/4, 1/2 and 1 (``--shares``). `experiment=fast`, `good` and `best` choose their epochs and have one point each.
Seconds are those of the process, its imports, decoding (each training has an empty cache), training and testing
included. By default, trainings run one after the other with all cores; ``--workers 2`` trains two at a time with one
thread each. Processor seconds, which hardly depend on other work on the machine, are recorded too.

What OUT already has is not trained again, nor what the file ``--known`` has (benchmarks/yardstick.csv). ``--publish``
writes all results to that file, and a table of them for the docs.
``OUT/results.csv`` has a row for each training, ``OUT/summary.csv`` a row for each program, set and share (median and
range over seeds), ``OUT/curves.png`` the curves. Where all trainings had one thread, curves and summary show processor
seconds, otherwise the seconds of the process. ``--others`` names the Python of an environment with librosa and
autrainer, ``--checkout`` the folder of another version of this project (with its own environment in ``.venv``, or
without it where this one serves); without them these programs are left out and listed as missing.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from publishing import PROJECT, processor, publish

KNOWN = PROJECT / "benchmarks" / "yardstick.csv"
SHARES = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class DataSet:
    """A data set and its division.

    Attributes:
        folder: below DATA.
        lines: overrides that name the source and the division.
        recipe: name of our hand-made recipe, which has ``epochs`` epochs.
        clip_seconds: length of clips for programs that bring all to one length.
        metric: key of the accuracy in metrics.json; that of whole recordings where these become windows.
        wanted: accuracies whose time is tabulated.
    """

    folder: str
    lines: tuple[str, ...]
    recipe: str
    epochs: int
    clip_seconds: float
    metric: str
    wanted: tuple[float, float, float]


WORDS = "data.words=[yes,no,up,down,left,right,on,off,stop,go,bed,cat,happy]"
SETS = {
    "speech": DataSet(
        "speech_commands", ("data=speech_commands", WORDS, "data.split=speaker"), "best_speech", 90, 1.0,
        "test/accuracy", (0.85, 0.92, 0.95),
    ),
    "urbansound8k": DataSet(
        "urbansound8k", ("data=urbansound8k", "data.split=folds"), "best_urbansound", 140, 4.0,
        "test/accuracy", (0.6, 0.7, 0.75),
    ),
    "instruments": DataSet(
        "instruments", ("data=instruments", "data.split=grouped"), "best_instruments", 130, 2.0,
        "test/recording_accuracy", (0.7, 0.8, 0.85),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A training: where it belongs and the folder that it leaves."""

    program: str
    set: str
    seed: int
    share: float
    folder: Path


@dataclass(frozen=True)
class Result:
    """A row of results.csv."""

    program: str
    set: str
    seed: int
    share: float
    epochs: int | None
    seconds: float
    accuracy: float
    balanced_accuracy: float | None
    machine: str
    threads: int
    processor_seconds: float


@dataclass(frozen=True)
class Program:
    """A program that trains and tests.

    Attributes:
        epochs: for each set, at a share of 1; None for a program that chooses them, which has no other share.
        command: of a training with that many epochs.
        read: accuracy and balanced accuracy (None where the program has none) from the folder that a training leaves.
        source: folder that the command runs in.
    """

    epochs: Callable[[DataSet], int] | None
    command: Callable[[DataSet, Job, int | None], list[str]]
    read: Callable[[DataSet, Path], tuple[float, float | None]]
    source: Path = PROJECT


def ours(
    lines: Callable[[DataSet], Sequence[str]],
    epochs: Callable[[DataSet], int] | None,
    data: Path,
    source: Path = PROJECT,
) -> Program:
    """A training of train.py, of this or of another version in the folder ``source``."""
    own = source / ".venv" / "bin" / "python"
    python = str(own) if own.is_file() else sys.executable

    def command(dataset: DataSet, job: Job, number: int | None) -> list[str]:
        chosen = [*lines(dataset), *division(dataset, data, job.seed), "plots=false"]
        if number is not None:
            chosen.append(f"trainer.max_epochs={number}")
        return [python, "train.py", *chosen, f"hydra.run.dir={job.folder}"]

    return Program(epochs, command, read_ours, source)


def division(dataset: DataSet, data: Path, seed: int) -> list[str]:
    """Overrides that choose the data and its division for a seed."""
    chosen = [*dataset.lines, f"data.root={data / dataset.folder}", f"seed={seed}"]
    return [*chosen, f"data.test_fold={seed % 3 + 1}"] if "data.split=folds" in dataset.lines else chosen


def read_ours(dataset: DataSet, folder: Path) -> tuple[float, float | None]:
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics[dataset.metric], metrics.get(dataset.metric.replace("accuracy", "balanced_accuracy"))


def script(name: str, python: str, tables: Callable[[DataSet, int], Path], *, workspace: bool) -> Program:
    """A program of others: a script of this folder, run by another Python on a table of recordings."""

    def command(dataset: DataSet, job: Job, epochs: int | None) -> list[str]:
        line = [python, str(PROJECT / "benchmarks" / name), str(tables(dataset, job.seed))]
        line += [str(job.folder / "workspace")] if workspace else []
        return [*line, f"--seconds={dataset.clip_seconds}", f"--epochs={epochs}", f"--seed={job.seed}"]

    def read(dataset: DataSet, folder: Path) -> tuple[float, None]:
        return json.loads((folder / "log.txt").read_text().strip().splitlines()[-1])["accuracy"], None

    return Program(lambda dataset: 60, command, read)


def write_table(dataset: DataSet, seed: int, data: Path, file: Path) -> Path:
    """The division of a set and seed, as programs of others read it: path, label and split (train or test)."""
    if not file.is_file():
        from audio_lightning import read_data

        manifest = read_data(*division(dataset, data, seed), "data.train_on_validation=true").manifest
        rows = manifest.table.drop_duplicates("path")
        rows = rows[rows["split"].isin(("train", "validation", "test"))]
        table = rows.assign(
            path=[str(manifest.root / path) for path in rows["path"]],
            split=rows["split"].replace("validation", "train"),
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        table[["path", "label", "split"]].to_csv(file, index=False)
    return file


def run(job: Job, program: Program, dataset: DataSet, threads: int) -> Result:
    """Train and test, unless that was done."""
    file = job.folder / "result.json"
    if not file.is_file():
        epochs = max(1, round(job.share * program.epochs(dataset))) if program.epochs else None
        command = program.command(dataset, job, epochs)
        job.folder.mkdir(parents=True, exist_ok=True)
        cache = job.folder / "cache"
        environment = {**os.environ, "AUDIO_LIGHTNING_CACHE": str(cache), "OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        with (job.folder / "log.txt").open("w") as log:
            done = subprocess.Popen(command, cwd=program.source, env=environment, stdout=log, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(done.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{' '.join(command)} failed: see {job.folder / 'log.txt'}")
        accuracy, balanced = program.read(dataset, job.folder)
        found = Result(
            job.program, job.set, job.seed, job.share, epochs, round(seconds, 1), accuracy, balanced, processor(),
            threads, round(used.ru_utime + used.ru_stime, 1),
        )  # fmt: skip
        for folder in (cache, job.folder / "workspace"):
            shutil.rmtree(folder, ignore_errors=True)
        file.write_text(json.dumps(asdict(found)))
    return Result(**json.loads(file.read_text()))


def read_results(file: Path) -> list[Result]:
    """Rows of a results.csv."""
    text = ("program", "set", "machine")
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    return [Result(**{k: v if k in text else json.loads(v or "null") for k, v in row.items()}) for row in rows]


@dataclass(frozen=True)
class Point:
    """Median and range over seeds of a program on a set with a share of its epochs.

    Attributes:
        seconds: processor seconds where all trainings had one thread, otherwise those of the process.
    """

    program: str
    set: str
    share: float
    seeds: int
    seconds: float
    accuracy: float
    lowest: float
    highest: float
    pareto: bool = False


def summarize(results: Sequence[Result]) -> list[Point]:
    found = []
    alone = all(one.threads == 1 for one in results)
    for program, name, share in dict.fromkeys((one.program, one.set, one.share) for one in results):
        rows = [one for one in results if (one.program, one.set, one.share) == (program, name, share)]
        right = [one.accuracy for one in rows]
        seconds = statistics.median(one.processor_seconds if alone else one.seconds for one in rows)
        found.append(Point(program, name, share, len(rows), seconds, statistics.median(right), min(right), max(right)))
    return [Point(**{**asdict(one), "pareto": is_pareto(one, found)}) for one in found]


def is_pareto(point: Point, points: Sequence[Point]) -> bool:
    """Whether no other point of the set is at least as accurate in less time, or more accurate in the same."""
    return not any(
        other.set == point.set
        and other.seconds <= point.seconds
        and other.accuracy >= point.accuracy
        and (other.seconds, other.accuracy) != (point.seconds, point.accuracy)
        for other in points
    )


def seconds_to(points: Sequence[Point], accuracy: float) -> float | None:
    """Seconds of the quickest training of a program that has the accuracy; None if none has it."""
    return min((one.seconds for one in points if one.accuracy >= accuracy), default=None)


def write_rows(rows: Sequence[Result] | Sequence[Point], file: Path) -> None:
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, [field.name for field in fields(rows[0])])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def publish_table(results: Sequence[Result]) -> None:
    """Write the table of the docs: a row for each set, program and share."""
    rows = []
    for name, program, share in dict.fromkeys((one.set, one.program, one.share) for one in results):
        found = sorted(
            (one for one in results if (one.set, one.program, one.share) == (name, program, share)),
            key=lambda one: one.seed,
        )
        machines = {f"{one.threads} thread{'s' * (one.threads > 1)} of {one.machine}" for one in found}
        split = next(line for line in SETS[name].lines if line.startswith("data.split"))
        rows.append(
            {
                "data": name,
                "trained": f"`{program}`" + f", {found[0].epochs} epochs" * (found[0].epochs is not None),
                "accuracy": ", ".join(f"{one.accuracy:.3f}" for one in found),
                "mean": f"{statistics.mean(one.accuracy for one in found):.3f}",
                "processor seconds": f"{statistics.median(one.processor_seconds for one in found):.0f}",
                "seed": ", ".join(str(one.seed) for one in found),
                "split": f"{split}, fold seed % 3 + 1" if "folds" in split else split,
                "hardware": "; ".join(sorted(machines)),
                "command": "`python benchmarks/time_to_accuracy.py DATA OUT`",
            }
        )
    publish("time_to_accuracy", sorted(rows, key=lambda row: list(SETS).index(row["data"])))


def draw(points: Sequence[Point], file: Path | BinaryIO, format: str = "png") -> None:
    """Accuracy against seconds, a panel a set; filled markers are Pareto-optimal."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(one.set for one in points))
    programs = list(dict.fromkeys(one.program for one in points))
    figure = Figure(figsize=(5 * len(names), 4.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for number, program in enumerate(programs):
            rows = sorted((one for one in points if (one.set, one.program) == (name, program)), key=lambda o: o.seconds)
            if not rows:
                continue
            seconds, right = [one.seconds for one in rows], [one.accuracy for one in rows]
            colour = f"C{number % 10}"
            axes.plot(seconds, right, "-" if number < 10 else "--", color=colour, label=program)
            axes.fill_between(
                seconds, [one.lowest for one in rows], [one.highest for one in rows], color=colour, alpha=0.15
            )
            for one in rows:
                face = colour if one.pareto else "white"
                axes.plot(one.seconds, one.accuracy, "o", color=colour, markerfacecolor=face)
        axes.set(xscale="log", xlabel="seconds from command to result", ylabel="test accuracy", title=name)
        axes.grid(alpha=0.3)
    named = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(named.values(), named, loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=150, format=format)


def tabulate(points: Sequence[Point], missing: Sequence[str]) -> None:
    for name in dict.fromkeys(one.set for one in points):
        wanted = SETS[name].wanted
        print(
            f"\n{name}: seconds to an accuracy of " + ", ".join(map(str, wanted)) + "; best median (range over seeds)"
        )
        for program in dict.fromkeys(one.program for one in points):
            rows = [one for one in points if (one.set, one.program) == (name, program)]
            if rows:
                best = max(rows, key=lambda one: one.accuracy)
                times = [seconds_to(rows, one) for one in wanted]
                shown = ", ".join("-" if one is None else f"{one:.0f}" for one in times)
                marks = sum(one.pareto for one in rows)
                print(
                    f"  {program}: {shown}; {best.accuracy:.3f} ({best.lowest:.3f} to {best.highest:.3f}) in "
                    f"{best.seconds:.0f} s; {marks} of {len(rows)} Pareto-optimal"
                )
    if missing:
        print("\nnot here: " + ", ".join(missing))


def programs_of(arguments: argparse.Namespace) -> tuple[dict[str, Program], list[str]]:
    """Programs by name, and the names of the programs that this machine lacks."""
    data, out = arguments.data.resolve(), arguments.out
    trained = ["data.train_on_validation=true"]
    own: dict[str, Program] = {
        f"experiment={name}": ours(lambda one, name=name: [*f"experiment={name}".split(), *trained], None, data)
        for name in ("fast", "good target_steps=1000", "good", "best")
    }
    own |= {
        "train.py": ours(lambda one: [], lambda one: 30, data),
        "googlenet": ours(
            lambda one: ["model=googlenet", "optimizer=adamw", "scheduler=cosine", *trained], lambda one: 24, data
        ),
        "experiment=frozen": ours(lambda one: ["experiment=frozen", *trained], lambda one: 30, data),
    }
    missing = []

    def tables(dataset: DataSet, seed: int) -> Path:
        return write_table(dataset, seed, data, out / "tables" / f"{dataset.folder} {seed}.csv")

    if arguments.others:
        python = str(arguments.others.absolute())
        own["autrainer CNN10"] = script("autrainer_cnn10.py", python, tables, workspace=True)
        own["librosa + PyTorch"] = script("librosa_loop.py", python, tables, workspace=False)
    else:
        missing += ["autrainer CNN10", "librosa + PyTorch"]
    if arguments.checkout:
        old = arguments.checkout.resolve()
        own["best_* before"] = ours(
            lambda one: [f"experiment={one.recipe}", *trained], lambda one: one.epochs, data, old
        )
    return own, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with speech_commands, urbansound8k and instruments")
    parser.add_argument("out", type=Path, help="folder of the trainings and results")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--programs", nargs="+", help="names of programs; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of the number of epochs")
    parser.add_argument("--workers", type=int, default=1, help="number of trainings at the same time")
    parser.add_argument("--known", type=Path, default=KNOWN, help="a results.csv whose trainings are not repeated")
    parser.add_argument("--publish", action="store_true", help="write the results into this repository")
    parser.add_argument("--others", type=Path, help="Python of an environment with librosa and autrainer")
    parser.add_argument("--checkout", type=Path, help="folder of another version")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    programs, missing = programs_of(arguments)
    if unknown := {*(arguments.programs or ())} - {*programs}:
        parser.error(f"no such program: {', '.join(sorted(unknown))}; choose from {', '.join(programs)}")
    results = read_results(arguments.known) if arguments.known.is_file() else []
    known = {(one.program, one.set, one.seed, one.share) for one in results}
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.workers)
    with ThreadPoolExecutor(arguments.workers) as pool:
        waiting = []
        for seed in arguments.seeds:
            for name in arguments.sets:
                for program in arguments.programs or programs:
                    for share in arguments.shares if programs[program].epochs else (1.0,):
                        if (program, name, seed, share) not in known:
                            folder = arguments.out / name / program.replace(" ", "-") / f"seed-{seed}-share-{share:g}"
                            job = Job(program, name, seed, share, folder)
                            waiting.append(pool.submit(run, job, programs[program], SETS[name], threads))
        for one in waiting:
            results.append(one.result())
            print(
                "{set} {program} seed {seed} share {share:g}: {accuracy:.3f} in {seconds:.0f} s "
                "({processor_seconds:.0f} of the processor)".format(**asdict(results[-1])),
                flush=True,
            )
            write_rows(results, arguments.out / "results.csv")
    points = summarize(results)
    write_rows(points, arguments.out / "summary.csv")
    draw(points, arguments.out / "curves.png")
    if arguments.publish:
        write_rows(results, KNOWN)
        publish_table(results)
    tabulate(points, missing)


if __name__ == "__main__":
    main()
