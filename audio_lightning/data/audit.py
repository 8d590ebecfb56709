"""Everything that is odd about a data set, found in one pass and stopping at nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from audio_lightning.audio import SILENCE, cancel
from audio_lightning.audio.ffmpeg import LACKING
from audio_lightning.data.loading.clips import cut
from audio_lightning.data.manifest import SPLITS, Manifest
from audio_lightning.data.problems import Problem, printable
from audio_lightning.data.sources.unlisted import unlisted
from audio_lightning.data.splitting.few_clips import FEWEST_A_CLASS

if TYPE_CHECKING:
    from audio_lightning.data.datamodule import AudioDataModule
    from audio_lightning.data.opening import Opened

MOST_CLIPPED = 1e-3
"""Share of samples at full scale above which a recording counts as clipped. A loud recording touches full scale now
and then; one sample in a thousand is a peak cut off in every few milliseconds, which can be heard."""

MOST_LEFT_OUT = 0.05
"""Share of what sounds that may be in no clip."""

SHORTEST = 0.1
"""Share of a clip's length below which a clip counts as short: nine tenths of what a network is shown are padding."""

MOST_NAMED = 5
"""Copies of one recording that are named."""

KINDS = {
    "leak": "the same source or the same sound in more than one split",
    "splits": "reasons why the splits cannot be made as asked for",
    "table": "rows of a table that cannot be used",
    "missing": "recordings that are listed, but not there",
    "undecodable": "recordings that need ffmpeg, which is not installed",
    "unreadable": "files that are damaged or not recordings",
    "not_finite": "recordings with samples that are NaN, infinite or impossibly large",
    "empty": "files without a sound in them: no bytes, or a header only",
    "duplicate": "recordings with the same sound under several names",
    "left_out": f"more than {MOST_LEFT_OUT:.0%} of what sounds is in no clip",
    "few_clips": f"classes with fewer than {FEWEST_A_CLASS} clips, or with none in one of the splits",
    "cancelling": "recordings whose channels cancel: their mean is silent or almost so",
    "silent": f"recordings that never exceed {SILENCE:g} of full scale",
    "clipped": f"recordings with more than {MOST_CLIPPED:.1%} of their samples at full scale",
    "unlisted": "recordings that lie beside the listed ones, but are not listed",
    "odd_rate": "recordings with another sample rate than most, and so perhaps another origin or bandwidth",
    "short": f"clips shorter than {SHORTEST:.0%} of the length that they are padded to",
}
"""Every kind of finding, and what it is; the gravest first within a severity."""

SEVERITIES = {
    "error": "stop training or make its results wrong",
    "warning": "may make results wrong",
    "hint": "worth a look",
}
"""How grave a finding can be, and what that means; the gravest first."""

_ERRORS = {"leak", "splits", "table", "missing", "undecodable", "unreadable", "not_finite", "empty"}
_HINTS = {"unlisted", "odd_rate", "short"}


@dataclass(frozen=True)
class Finding:
    """One thing that is odd.

    Attributes:
        kind: one of :data:`KINDS`.
        where: a recording, a row of a table, or a class.
        what: what was found there, and against what it was held.
    """

    kind: str
    where: str
    what: str

    @property
    def severity(self) -> str:
        """One of :data:`SEVERITIES`."""
        return "error" if self.kind in _ERRORS else "hint" if self.kind in _HINTS else "warning"


def audit(datamodule: "AudioDataModule", examination: "Opened") -> list[Finding]:
    """Find everything that is odd about a data set.

    Args:
        datamodule: whose clips were examined.
        examination: what :func:`audio_lightning.data.opening.examine` returns.

    Returns:
        The findings by severity, by :data:`KINDS`, and in the order of the data; none twice. Line breaks, escape
        characters and what is not text in the names of files are written as escapes, so that they can be shown
        anywhere.
    """
    every = chain(
        map(_as_finding, examination.problems),
        _unlisted(examination.manifest, getattr(datamodule, "ignore", ())),
        _recordings(examination),
        _short(datamodule, examination),
        _duplicates(examination),
        _left_out(datamodule, examination),
        _few_clips(examination.manifest),
    )
    order = {kind: place for place, kind in enumerate(KINDS)}
    severities = list(SEVERITIES)
    found = sorted(every, key=lambda finding: (severities.index(finding.severity), order[finding.kind]))
    shown = (Finding(finding.kind, printable(finding.where), printable(finding.what)) for finding in found)
    return list(dict.fromkeys(shown))


def _as_finding(problem: Problem) -> Finding:
    """A problem, with the commonest reasons for an unreadable recording told apart."""
    kind = problem.kind
    if kind == "unreadable" and LACKING in problem.what:
        kind = "undecodable"
    elif kind == "unreadable" and any(sign in problem.what for sign in ("NaN or infinite", "times full scale")):
        kind = "not_finite"
    elif kind == "unreadable" and any(sign in problem.what for sign in ("holds a header but no frames", "(0 bytes)")):
        kind = "empty"
    return Finding(kind, problem.where, problem.what)


def _unlisted(manifest: Manifest, ignore: Sequence[str]) -> Iterator[Finding]:
    for path, problem in unlisted(manifest, ignore):
        yield Finding("unlisted", path, problem or "is not listed, and so is not used")


def _recordings(examination: "Opened") -> Iterator[Finding]:
    """What the samples of single recordings, and their rates, say."""
    audio, facts = examination.audio, examination.audio.facts
    readable = audio.stops > audio.starts
    rates, counts = np.unique(facts["sample_rate"][readable], return_counts=True)
    # Without a rate that more than half of them have, none is odd.
    usual = next((rate for rate, count in zip(rates, counts) if 2 * count > counts.sum()), None)
    descriptions: dict[str, tuple[np.ndarray, Callable[[np.void], str]]] = {
        "silent": (facts["peak"] < SILENCE, lambda fact: f"is silent: its peak is {fact['peak']:.2g} of full scale"),
        "cancelling": (
            cancel(facts["channels"], facts["peak"], facts["rms"], facts["mean_rms"]),
            _cancelling,
        ),
        "clipped": (
            facts["clipped"] > MOST_CLIPPED,
            lambda fact: f"is clipped: {100 * fact['clipped']:.2g} % of its samples are at full scale",
        ),
        "odd_rate": (
            (facts["sample_rate"] != usual) & (usual is not None),
            lambda fact: f"has {fact['sample_rate']:,} Hz, most of the recordings have {usual:,} Hz",
        ),
    }
    paths = _paths(examination)
    for kind, (odd, describe) in descriptions.items():
        for index in np.flatnonzero(odd & readable):
            yield Finding(kind, paths[index], describe(facts[index]))


def _cancelling(fact: np.void) -> str:
    ratio = float(fact["mean_rms"] / fact["rms"])
    left = f"lies {-20 * np.log10(ratio):.0f} dB below them" if ratio > SILENCE else "is silent"
    return f"its {fact['channels']} channels cancel: their mean {left}; choose data.channel=left, or right or each"


def _short(datamodule: "AudioDataModule", examination: "Opened") -> Iterator[Finding]:
    seconds = clip_seconds(datamodule, examination)
    whole = datamodule.num_samples / datamodule.sample_rate
    rows = np.flatnonzero((seconds > 0) & (seconds < SHORTEST * whole))
    clips = examination.manifest.table[["path", "start_seconds"]].iloc[rows]
    for path, start, lasting in zip(*(clips[name].tolist() for name in clips), seconds[rows].tolist()):
        where = f"{path}, from {start:g} s on" if start else path
        yield Finding("short", where, f"lasts {lasting:.3f} s, less than {SHORTEST:.0%} of a clip of {whole:g} s")


def _left_out(datamodule: "AudioDataModule", examination: "Opened") -> Iterator[Finding]:
    """How much of what sounds is never trained on, where recordings are cut to one clip each."""
    if datamodule.hop_samples is not None:
        return
    from audio_lightning.data.clip_choice import left_out  # imports torch, and kinds of findings are named without

    whole = datamodule.num_samples / datamodule.sample_rate
    seconds = clip_seconds(datamodule, examination)
    stretches = datamodule.stretches().readable() if left_out(0 * seconds, seconds, whole) > MOST_LEFT_OUT else None
    if stretches is None or (share := left_out(stretches.first, stretches.last, whole)) <= MOST_LEFT_OUT:
        return
    longer = int((stretches.last > whole).sum())
    yield Finding(
        "left_out",
        f"{longer:,} of {len(stretches.last):,} recordings",
        f"{share:.0%} of what sounds lies behind the clip of {whole:g} s that each is cut to: choose "
        f"data.hop_seconds={whole:g} for windows all along them, data.clip_seconds=auto data.hop_seconds=auto, or "
        "longer clips",
    )


def clip_seconds(datamodule: "AudioDataModule", examination: "Opened") -> Float[np.ndarray, "rows"]:
    """Length in seconds of what each row of the manifest means, before it is padded, or cut into windows.

    It is 0 where nothing can be read, and at most a clip of background noise, which is drawn out of a longer one.
    """
    manifest, whole = examination.manifest, np.iinfo(np.int64).max // 4
    stretches = cut(manifest, examination.recording, examination.audio, datamodule.sample_rate, whole, None)
    longest = np.where(stretches.background, datamodule.num_samples, whole)
    return np.minimum(stretches.length, longest) / datamodule.sample_rate


def _duplicates(examination: "Opened") -> Iterator[Finding]:
    """One finding for every set of recordings with the same samples."""
    hashes = np.ascontiguousarray(examination.audio.hashes)
    first_channel = np.zeros(len(hashes), dtype=bool)
    first_channel[examination.recording] = examination.manifest.table["channel"].to_numpy() <= 1
    # Zeros stand for silence, and for what could not be read.
    known = np.flatnonzero(hashes.any(axis=1) & first_channel)
    if not len(known):
        return
    keys = hashes[known].view(f"V{hashes.shape[1]}").ravel()
    _, number, counts = np.unique(keys, return_inverse=True, return_counts=True)
    copied = np.flatnonzero(counts[number] > 1)
    if not len(copied):
        return
    copied = copied[np.argsort(number[copied], kind="stable")]
    borders = np.flatnonzero(np.diff(number[copied])) + 1
    copies = sorted(np.split(known[copied], borders), key=lambda indices: indices[0])
    paths, labels = _paths(examination), _labels(examination, known[copied])
    for indices in copies:
        first, *others = indices.tolist()
        named = ", ".join(paths[index] for index in others[:MOST_NAMED])
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        different = sorted({labels[index] for index in indices.tolist()})
        contradiction = f"; the labels differ: {' and '.join(different)}" if len(different) > 1 else ""
        yield Finding("duplicate", paths[first], f"has the same sound as {named}{more}{contradiction}")


def _few_clips(manifest: Manifest) -> Iterator[Finding]:
    """Classes of which there is too little."""
    counts = {split: manifest.class_counts(split) for split in (*SPLITS, "")}
    # Splits without any clip are not meant to be: all is tested on, or the splits could not be made.
    used = [split for split in SPLITS if any(counts[split])]
    for number, name in enumerate(manifest.classes):
        total = sum(count[number] for count in counts.values())
        without = [split for split in used if not counts[split][number]]
        said = [f"has {total} clip{'s' * (total != 1)}, at least {FEWEST_A_CLASS} are wanted"] * (
            total < FEWEST_A_CLASS
        )
        said += [f"has no clip in {' and '.join(without)}"] * bool(without)
        if said:
            yield Finding("few_clips", f"class {name}", "; ".join(said))


def _paths(examination: "Opened") -> np.ndarray:
    """The path of every recording, as the table has it, with the channel where each is one."""
    paths, table = np.full(len(examination.audio), "", dtype=object), examination.manifest.table
    named = [f"{path}, channel {number}" if number else path for path, number in zip(table["path"], table["channel"])]
    paths[examination.recording] = np.array(named, dtype=object)
    return paths


def _labels(examination: "Opened", indices: Int64[np.ndarray, "some"]) -> dict[int, str]:
    """Everything that each of some recordings is said to be, by its position."""
    rows = np.flatnonzero(np.isin(examination.recording, indices))
    said: dict[int, set[str]] = {index: set() for index in indices.tolist()}
    for index, label in zip(examination.recording[rows].tolist(), examination.manifest.table["label"].iloc[rows]):
        said[index].add(label)
    return {index: "/".join(sorted(labels)) for index, labels in said.items()}
