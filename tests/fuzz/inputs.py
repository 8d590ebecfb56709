"""Generators of hostile inputs of every kind, most of them valid inputs with a few changes."""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sweep_folders import make_sweep, trial

from audio_lightning.audio import describe, windows
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.compare.leaderboard import make_boards, write_leaderboard
from audio_lightning.compare.trial_table import read_results, write_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.config import build, check_config, compose, quote_paths, user_extensions
from audio_lightning.config.overrides import parse_overrides
from audio_lightning.core.errors import UserError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.run_folder import SHOWN, RunFolder
from audio_lightning.sweeps.grid import combinations, parse_grid
from audio_lightning.sweeps.refit import plan_refit
from audio_lightning.sweeps.trials_file import read_trials_file
from audio_lightning.training.resume import resumed_config


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        strategy: generates what ``make`` takes.
        make: writes an input into a folder.
        act: what the commands do with it.
        passes: whether it passes the first look at what it is.
    """

    strategy: SearchStrategy[Any]
    make: Callable[[Path, Any], Any]
    act: Callable[[Path, Any], Any]
    passes: Callable[[Any], bool]


# What is put in place of a value.
NUMBERS = st.sampled_from([0, 1, -1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 10**30, 300_000_000])
FLOATS = st.sampled_from([0.0, -1.0, 0.5, 1e-30, 1e19, 1e308, float("nan"), float("inf")])
WORDS = st.sampled_from(
    [
        "", "a", "null", "none", "cnn", "bell", "../../etc/passwd", "/etc/passwd", "~root/x", "~nobody_at_all/x", "\0",
        "x" * 300, "é", "e\u0301", "\u202e", "${oc.env:AL_SECRET}", "${oc.env:NOT_THERE}", "${seed}", "${",
        "$", "\\${x}",
        "[(", "{", "a,b", "1,2", "0,001", "=", "a=b", "'", '"', "\n", "os.system", "torch.load", "builtins.eval",
        "audio_lightning.cli.main.main", "http://127.0.0.1:9/x", "file:///etc/passwd",
        "!!python/object/apply:os.system",
        "audio_lightning.models.cnn.CNN",
        "9" * 5_000, "1e400", "-", "--help", "data.root", "__import__('os')", "%s%n", ";",
    ]
)  # fmt: skip
VALUES = st.one_of(
    NUMBERS,
    FLOATS,
    WORDS,
    st.booleans(),
    st.none(),
    st.lists(st.one_of(WORDS, NUMBERS), max_size=3),
    st.dictionaries(WORDS, st.one_of(WORDS, NUMBERS), max_size=2),
)
BYTES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"\xff\xff\xff\xff", b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01\x00\x00\x00"]),
)
WHOLE = st.sampled_from(
    [
        b"", b"{", b"[]", b"null", b"\x00" * 50, "a: 1\n".encode("utf-16"), b"\xff\xfe\xfd", b"[" * 50_000, b"{}",
        b"- a\n- b\n", b"a: &a [x]\nb: [*a, *a]\n", b"!!python/object/apply:os.system ['touch ../CANARY']\n", b"\n" * 9,
        b"?", b"1", b'"a"', b"a,b\n1\n", b"a,a\n1,2\n", b"\xef\xbb\xbf{}", b"a" * 100_000, b"9" * 10_000,
        b"- " * 50_000,
    ]
)  # fmt: skip


# ---- changed bytes

Change = tuple[float, bytes, bool]


def changes(most: int = 4) -> SearchStrategy[tuple[list[Change], float]]:
    """Some bytes written over or put between others, and the share of the file that is kept."""
    change = st.tuples(st.floats(0, 1), BYTES, st.booleans())
    return st.tuples(st.lists(change, max_size=most), st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.1]))


def changed(content: bytes, what: tuple[list[Change], float], *, head: int = 0) -> bytes:
    """A file with changes; those of ``head`` bytes are twice as likely as the rest together."""
    found = bytearray(content)
    for place, piece, between in what[0]:
        span = head if head and place < 0.67 else len(found)
        at = int((place / 0.67 if span == head and head else place) * span) % max(1, len(found) or 1)
        found[at : at if between else at + len(piece)] = piece
    return bytes(found[: int(len(found) * what[1])] if what[1] < 1 else found)


# ---- recordings

FORMATS = {
    "a.wav": ("WAV", "PCM_16"), "b.wav": ("WAV", "FLOAT"), "c.wav": ("WAVEX", "PCM_24"), "d.wav": ("RF64", "PCM_16"),
    "e.flac": ("FLAC", "PCM_16"), "f.aiff": ("AIFF", "PCM_16"), "g.au": ("AU", "PCM_16"), "h.caf": ("CAF", "PCM_16"),
    "i.w64": ("W64", "PCM_16"), "j.ogg": ("OGG", "VORBIS"), "k.mp3": ("MP3", "MPEG_LAYER_III"),
    "l.opus": ("OGG", "OPUS"), "m.wav": ("WAV", "ULAW"),
}  # fmt: skip
MAGIC = (b"RIFF", b"RF64", b"fLaC", b"FORM", b".snd", b"caff", b"riff", b"OggS", b"ID3", b"\xff")


def _recordings() -> dict[str, bytes]:
    rng, found = np.random.default_rng(0), {}
    for name, (container, encoding) in FORMATS.items():
        buffer = io.BytesIO()
        rate = 48_000 if encoding == "OPUS" else 16_000
        soundfile.write(buffer, rng.uniform(-0.5, 0.5, (1_600, 2)), rate, format=container, subtype=encoding)
        found[name] = buffer.getvalue()
    return found


RECORDINGS = _recordings()


def _make_recording(folder: Path, given: tuple[str, Any]) -> Path:
    path = folder / given[0]
    path.write_bytes(changed(RECORDINGS[given[0]], given[1], head=80))
    return path


def _read_recording(folder: Path, path: Path) -> None:
    describe(path)
    for _ in windows(path, 16_000, window_samples=4_000, hop_samples=4_000, tail_samples=1):
        pass


RECORDING = Kind(
    st.tuples(st.sampled_from(list(FORMATS)), changes(3)),
    _make_recording,
    _read_recording,
    lambda given: changed(RECORDINGS[given[0]], given[1], head=80)[:4].startswith(MAGIC),
)

# ---- tables

COLUMNS = st.sampled_from(
    ["path", "label", "split", "fold", "start", "stop", "group", "", "path ", "Label", "\ufeffpath"]
)
CELLS = st.one_of(
    st.sampled_from(["a.wav", "./a.wav", "b/../a.wav", "bell", "drum", "bell;drum", "train", "test", "1", "0.5"]), WORDS
)
SETTINGS = st.lists(
    st.sampled_from(
        [
            "data.split_column=split", "data.fold_column=fold", "data.group_column=group", "data.label_separator=;",
            "data.start_column=start", "data.stop_column=stop", "data.label_column=nothing", "data.bad_recordings=skip",
        ]
    ),
    max_size=2,
)  # fmt: skip


def _table(given: dict[str, Any]) -> bytes:
    header = ["path", "label", *given["header"]]
    rows = [[*row, *["1"] * len(header)][: len(header) + given["ragged"]] for row in given["rows"]]
    if given["suffix"] in (".jsonl", ".ndjson"):
        text = "\n".join(json.dumps(dict(zip(header, row))) for row in rows)
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=given["delimiter"], lineterminator=given["end"])
        writer.writerows([header, *rows])
        text = buffer.getvalue()
    return changed(text.encode(given["encoding"], errors="replace"), given["changes"])


def _make_table(folder: Path, given: dict[str, Any]) -> list[str]:
    (folder / "a.wav").write_bytes(RECORDINGS["a.wav"])
    (folder / f"clips{given['suffix']}").write_bytes(_table(given))
    return given["settings"]


TABLE_KEYS = ("data.path_column=path", "data.label_column=label")


def _read_table(folder: Path, settings: list[str]) -> None:
    (table,) = folder.glob("clips*")
    lines = ["data=table", f"data.root={folder}", f"data.table={table.name}", *TABLE_KEYS, *settings]
    config = compose(quote_paths(lines))
    check_config(config)
    build(config.data, AudioDataModule, where="data").read()


TABLE = Kind(
    st.fixed_dictionaries(
        {
            "header": st.lists(COLUMNS, max_size=3),
            "rows": st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=6),
            "ragged": st.sampled_from([0, 0, 0, 1, -1]),
            "suffix": st.sampled_from([".csv", ".csv", ".tsv", ".jsonl", ".parquet"]),
            "delimiter": st.sampled_from([",", ",", ";", "\t"]),
            "end": st.sampled_from(["\n", "\r\n", "\r"]),
            "encoding": st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1", "utf-8-sig"]),
            "changes": changes(2),
            "settings": SETTINGS,
        }
    ),
    _make_table,
    _read_table,
    lambda given: given["encoding"] != "utf-16" and given["suffix"] != ".parquet" and b"path" in _table(given)[:60],
)

# ---- command lines

KNOWN = [
    "seed", "data.seed", "data.root", "data.num_workers", "data.batch_size", "data.clip_seconds", "data.sample_rate",
    "trainer.max_epochs", "trainer.devices", "trainer", "optimizer.lr", "optimizer._target_", "model.channels", "model",
    "feature", "feature.n_mels", "augment", "logger", "+logger.x", "callbacks", "+callbacks.x._target_", "monitor",
    "scheduler._target_", "noise_dir", "feature_memory_gb", "tuner.max_batch_size", "resume", "trust",
    "hydra.run.dir", "hydra.searchpath", "finetune.freeze", "ensemble", "ensemble.num_members",
    "trusted_modules", "loss.label_smoothing", "data.cache_dir",
    "plots", "trainer.accumulate_grad_batches", "model.dropout", "dashboard.mistakes", "data",
]  # fmt: skip
KEYS = st.sampled_from([*KNOWN, *KNOWN, "nothing", "data.nothing", "~logger", "~seed", "++x", "", ".", "a..b"])
TYPED = st.one_of(
    WORDS.map(lambda word: word.replace("AL_SECRET", "AL_TYPED")),  # error messages may repeat arguments
    NUMBERS.map(str),
    FLOATS.map(str),
    st.sampled_from(
        ["true", "[1,2]", "{a: 1}", "cnn,lstm", "choice(1,2)", "range(0,3)", "interval(0,1)", "glob(*)", "[cnn,x]"]
    ),
)


def _quoted(text: str) -> str:
    """Text between quotes as Hydra reads it, so that whatever it holds gets past the parser."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


RIGHT = st.sampled_from(
    ["0", "1", "8", "1e-3", "true", "null", "cnn", "logmel", "adam", "[8,16]", "cnn,lstm", "0,1", "range(0,3)", "none"]
)
MEANT = st.one_of(TYPED, TYPED.map(_quoted), TYPED.map(_quoted), RIGHT)
PAIRS = st.tuples(KEYS, MEANT).map("=".join)
# Not one_of, which would count every alternative of a bare word.
LINES = st.sampled_from([True] * 4 + [False]).flatmap(lambda pair: PAIRS if pair else MEANT)


def _read_line(folder: Path, lines: list[str]) -> None:
    quoted = quote_paths(lines)
    with user_extensions(quoted):
        config = compose(quoted)
        check_config(config)


def _read_grid(folder: Path, lines: list[str]) -> None:
    grid = parse_grid(lines)
    with user_extensions(lines):
        for combination in combinations(grid)[:3]:
            compose([*grid.fixed, *combination.values()])


def _parses(lines: list[str]) -> bool:
    try:
        parse_overrides(quote_paths(lines))
    except UserError:
        return False
    return True


LINE = Kind(st.lists(LINES, min_size=1, max_size=2), lambda folder, lines: lines, _read_line, _parses)
GRID = Kind(st.lists(LINES, min_size=1, max_size=2), lambda folder, lines: lines, _read_grid, _parses)

# ---- YAML

SNIPPETS = st.sampled_from(
    [
        "[model=cnn, seed=0]", "{model: cnn, seed: 0}", "{}", "[]", "seed=0", "{seed: [1, 2]}",
        "[model=cnn,lstm]", "{1: 2}",
        "{? [a]: b}", "!!python/object/apply:os.system ['touch ../CANARY']", "*a", "&a [*a]",
        "{<<: {seed: 1}}", "2020-01-01",
        "{seed: ${oc.env:AL_TYPED}}", "{seed: \"${oc.env:AL_TYPED}\"}", "{data.root: ~/x}",
        "{seed: !!binary aaaa}", "null",
    ]
)  # fmt: skip


def _make_yaml(folder: Path, given: tuple[list[str], Any]) -> Path:
    path = folder / "trials.yaml"
    path.write_bytes(_yaml(given))
    return path


def _yaml(given: tuple[list[str], Any]) -> bytes:
    return changed("".join(f"- {entry}\n" for entry in given[0]).encode(), given[1])


def _read_yaml(folder: Path, path: Path) -> None:
    for lines in read_trials_file(path)[:2]:
        compose(lines)


YAML = Kind(
    st.tuples(st.lists(SNIPPETS, max_size=3), changes(1)),
    _make_yaml,
    _read_yaml,
    lambda given: _yaml(given).startswith(b"- "),
)

# ---- checkpoints


def _leaves(node: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(node, dict) or not node:
        return [prefix]
    return [path for name, value in node.items() for path in ((*prefix, name), *_leaves(value, (*prefix, name)))]


def _put(values: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        values = values.get(name) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values[path[-1]] = value


TRIAL_FILES = ("status.json", "metrics.json", "config.yaml", "latency.json")
STATUS = (
    "number",
    "hash",
    "state",
    "overrides",
    "choices",
    "groups",
    "setup",
    "content",
    "division",
    "seconds",
    "search",
)
TENSORS: dict[str, Callable[[], Any]] = {
    "empty": lambda: torch.empty(0),
    "of one": lambda: torch.zeros(1),
    "other": lambda: torch.zeros(3, 5, dtype=torch.int64),
    "not finite": lambda: torch.full((4,), float("nan")),
    "expanded": lambda: torch.zeros(1).expand(200_000_000),
    "complex": lambda: torch.zeros(2, dtype=torch.complex64),
    "no tensor": lambda: "a",
}


class Samples:
    """Real files of a run, from which damaged ones are made.

    Args:
        run: a finished run.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.best = run / "checkpoints/best.ckpt"
        self.content = self.best.read_bytes()
        self.checkpoint = torch.load(self.best, weights_only=True)
        parts = {name: self.checkpoint[name] for name in ("hyper_parameters", "audio_lightning")}
        self.leaves = sorted({path for path in _leaves(parts) if path}, key=repr)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "model.ckpt"
            write_ensemble(path, [self.best, run / "checkpoints/last.ckpt"], [2, 1])
            self.ensemble = path.read_bytes()
        self.weights = sorted(self.checkpoint["state_dict"])
        self.config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        self.config_leaves = sorted({path for path in _leaves(self.config) if path}, key=repr)
        names = ("config.yaml", "metrics.json", "history.csv", "predictions.csv", "per_class.csv", "steps.csv")
        self.files = {name: (run / name).read_bytes() for name in names}

    def checkpoints(self) -> Kind:
        leaf = st.tuples(st.just("leaf"), st.sampled_from(self.leaves), VALUES)
        weight = st.tuples(st.just("weight"), st.sampled_from(self.weights), st.sampled_from(list(TENSORS)))
        raw = st.tuples(st.just("bytes"), changes(3))
        return Kind(
            st.one_of(leaf, leaf, weight, raw),
            self._make_checkpoint,
            lambda folder, path: AudioClassifier.load_from_checkpoint(path),
            lambda given: given[0] != "bytes" or changed(self.content, given[1])[:2] == b"PK",
        )

    def _make_checkpoint(self, folder: Path, given: Any) -> Path:
        path = folder / "x.ckpt"
        if given[0] == "bytes":
            path.write_bytes(changed(self.content, given[1]))
            return path
        checkpoint = torch.load(self.best, weights_only=True)
        if given[0] == "leaf":
            _put(checkpoint, given[1], given[2])
        else:
            checkpoint["state_dict"][given[1]] = TENSORS[given[2]]()
        torch.save(checkpoint, path)
        return path

    def ensembles(self) -> Kind:
        names = ("audio_lightning", "members", "weights", "thresholds")
        contents = torch.load(io.BytesIO(self.ensemble), weights_only=True)
        of_member = [("member", *path) for path in self.leaves]
        whole = [(name,) for name in names]
        written = [path for path in _leaves({"audio_lightning": contents["audio_lightning"]}) if path]
        paths = sorted({*of_member, *whole, *written, *(("member", name) for name in contents["members"][0])}, key=repr)
        leaf = st.tuples(st.just("leaf"), st.sampled_from(paths), VALUES)
        part = st.tuples(st.just("leaf"), st.sampled_from([*whole, *written]), VALUES)
        weight = st.tuples(st.just("weight"), st.sampled_from(self.weights), st.sampled_from(list(TENSORS)))
        raw = st.tuples(st.just("bytes"), changes(3))
        return Kind(
            st.one_of(leaf, part, weight, raw),
            self._make_ensemble,
            lambda folder, path: AudioClassifier.load_from_checkpoint(path),
            lambda given: given[0] != "bytes" or changed(self.ensemble, given[1])[:2] == b"PK",
        )

    def _make_ensemble(self, folder: Path, given: Any) -> Path:
        path = folder / "x.ckpt"
        if given[0] == "bytes":
            path.write_bytes(changed(self.ensemble, given[1]))
            return path
        contents = torch.load(io.BytesIO(self.ensemble), weights_only=True)
        contents["member"] = contents["members"][1]
        if given[0] == "leaf":
            _put(contents, given[1], given[2])
        else:
            contents["member"]["state_dict"][given[1]] = TENSORS[given[2]]()
        member = contents.pop("member")
        if isinstance(contents["members"], list) and len(contents["members"]) == 2:
            contents["members"][1] = member
        torch.save(contents, path)
        return path

    def runs(self) -> Kind:
        leaf = st.tuples(st.just("leaf"), st.sampled_from(self.config_leaves), VALUES)
        file = st.tuples(st.just("file"), st.sampled_from(list(self.files)), st.one_of(WHOLE, changes(3)))
        place = st.tuples(
            st.just("place"),
            st.sampled_from([*self.files, "train.log", "checkpoints/last.ckpt", "checkpoints"]),
            st.sampled_from(["missing", "pipe", "folder", "link"]),
        )
        metric = st.tuples(st.just("metric"), st.sampled_from([*SHOWN, "leakage", "split", "test/accuracy"]), VALUES)
        more = st.sampled_from(
            [[], [], ["trainer.max_epochs=9"], ["trainer.max_epochs=[("], ["logger=none"], ["seed=1"]]
        )
        return Kind(
            st.tuples(st.one_of(leaf, leaf, file, place, metric), more), self._make_run, _read_run, lambda given: True
        )

    def _make_run(self, folder: Path, given: Any) -> list[str]:
        (kind, name, what), more = given
        run = folder / "run"
        run.mkdir()
        for file, content in self.files.items():
            (run / file).write_bytes(content)
        (run / "checkpoints").mkdir()
        (run / "checkpoints/last.ckpt").write_bytes(b"PK\x03\x04")
        if kind == "leaf":
            config = json.loads(json.dumps(self.config))
            _put(config, name, what)
            (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        elif kind == "metric":
            metrics = json.loads(self.files["metrics.json"])
            (run / "metrics.json").write_text(json.dumps({**metrics, name: what}), encoding="utf-8")
        elif kind == "file":
            (run / name).write_bytes(what if isinstance(what, bytes) else changed(self.files[name], what))
        else:
            _spoil(run / name, what)
        return more

    def sweeps(self) -> Kind:
        return Kind(
            st.one_of(
                st.tuples(st.just("status"), st.sampled_from(STATUS), VALUES),
                st.tuples(
                    st.just("metric"),
                    st.sampled_from(["validation/accuracy", "macs", "epochs", "best_epoch", "x"]),
                    VALUES,
                ),
                st.tuples(st.just("facts"), st.sampled_from(["name", "overrides", "axes", "monitor", "x"]), VALUES),
                st.tuples(st.just("file"), st.sampled_from([*TRIAL_FILES, "sweep.json"]), st.one_of(WHOLE, changes(3))),
                st.tuples(
                    st.just("place"),
                    st.sampled_from(TRIAL_FILES),
                    st.sampled_from(["missing", "pipe", "folder", "link"]),
                ),
            ),
            self._make_sweep,
            _read_sweep,
            lambda given: True,
        )

    def _make_sweep(self, folder: Path, given: Any) -> SweepFolder:
        kind, name, what = given
        rows = [{"model": "cnn", "lr": 0.1}, {"model": "cnn", "lr": 0.2}, {"model": "lstm"}]
        sweep = make_sweep(folder / "sweep", [trial(0.9, config=self.config, **row) for row in rows])
        first = next(sweep.folders())[0]
        if kind == "facts":
            values = json.loads(sweep.facts.read_text(encoding="utf-8"))
            sweep.facts.write_text(json.dumps({**values, name: what}), encoding="utf-8")
        elif kind == "status":
            values = json.loads(first.status.read_text(encoding="utf-8"))
            first.status.write_text(json.dumps({**values, name: what}), encoding="utf-8")
        elif kind == "metric":
            values = json.loads(first.metrics.read_text(encoding="utf-8"))
            first.metrics.write_text(json.dumps({**values, name: what}), encoding="utf-8")
        elif kind == "place":
            _spoil(first.path / name, what)
        else:
            path = sweep.path / name if name == "sweep.json" else first.path / name
            path.write_bytes(what if isinstance(what, bytes) else changed(path.read_bytes(), what))
        return sweep


def _spoil(path: Path, what: str) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("/etc/passwd")


def _read_run(folder: Path, more: list[str]) -> None:
    """Read what ``resume=``, ``Run`` of the API and the plots do; each file, whatever is wrong with others."""
    run = RunFolder(folder / "run")
    errors = []
    for read in (
        lambda: check_config(resumed_config(run, more)),
        lambda: run.read_metrics(SHOWN),
        run.read_history,
        lambda: run.read_predictions(run.predictions),
        run.read_per_class,
    ):
        try:
            read()
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _read_sweep(folder: Path, sweep: SweepFolder) -> None:
    """Read and write the files of a leaderboard, the end of a sweep and a refit."""
    facts = sweep.read_facts()
    results = read_results([sweep])
    for line in results.attrs["damaged"]:
        assert "\n" not in line
    boards = make_boards(results, facts.monitor, facts.axes, [sweep])
    write_results(sweep)
    write_leaderboard(sweep, boards)
    plan_refit(sweep, results, [board for board in boards if board.rows], everything=None)


def kinds(run: Path) -> dict[str, Kind]:
    """Every kind of input, by its name.

    Args:
        run: a finished run on small data.
    """
    samples = Samples(run)
    return {
        "recording": RECORDING,
        "table": TABLE,
        "command line": LINE,
        "grid": GRID,
        "YAML": YAML,
        "checkpoint": samples.checkpoints(),
        "ensemble": samples.ensembles(),
        "run folder": samples.runs(),
        "sweep folder": samples.sweeps(),
    }
