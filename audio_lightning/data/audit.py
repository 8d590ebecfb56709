"""Audit of a data set: all errors, warnings and hints, found in one pass."""

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
"""Share of samples at full scale above which a recording counts as clipped. A loud recording reaches full scale now
and then; one sample in a thousand means a clipped peak every few milliseconds, which is audible."""

MOST_LEFT_OUT = 0.05
"""Maximum share of the sounding duration that may be outside of all clips."""

SHORTEST = 0.1
"""Share of a clip's length below which a clip counts as short: nine tenths of the network's input are padding."""

MOST_NAMED = 5
"""Maximum number of copies of one recording to name."""

KINDS = {
    "leak": "the same source or the same sound in more than one split",
    "splits": "reasons why the requested splits cannot be made",
    "classes": "a single class, or a class whose name cannot be printed",
    "table": "rows of a table that cannot be used",
    "missing": "listed recordings that do not exist",
    "undecodable": "recordings that need ffmpeg, which is not installed",
    "unreadable": "files that are damaged or not recordings",
    "not_finite": "recordings with samples that are NaN, infinite or impossibly large",
    "empty": "files without samples: empty, or a header only",
    "duplicate": "recordings with identical samples and different names",
    "left_out": f"more than {MOST_LEFT_OUT:.0%} of the sounding duration is in no clip",
    "few_clips": f"classes with fewer than {FEWEST_A_CLASS} clips, or with none in one of the splits",
    "cancelling": "recordings whose channels cancel: their mean is silent or almost silent",
    "silent": f"recordings that never exceed {SILENCE:g} of full scale",
    "clipped": f"recordings with more than {MOST_CLIPPED:.1%} of their samples at full scale",
    "unlisted": "recordings in the folders of the listed ones, and below, that are not listed",
    "odd_rate": "recordings with another sample rate than most, which suggests another origin or bandwidth",
    "short": f"clips shorter than {SHORTEST:.0%} of the length that they are padded to",
}
"""Kinds of findings with descriptions, the most severe first within a severity."""

SEVERITIES = {
    "error": "stop training or make its results wrong",
    "warning": "may make results wrong",
    "hint": "worth a look",
}
"""Severities of findings with descriptions, the most severe first."""

_ERRORS = {"leak", "splits", "classes", "table", "missing", "undecodable", "unreadable", "not_finite", "empty"}
_HINTS = {"unlisted", "odd_rate", "short"}


@dataclass(frozen=True)
class Finding:
    """One finding about a data set.

    Attributes:
        kind: one of :data:`KINDS`.
        where: a recording, a row of a table, or a class.
        what: observation, and the expectation that it violates.
    """

    kind: str
    where: str
    what: str

    @property
    def severity(self) -> str:
        """One of :data:`SEVERITIES`."""
        return "error" if self.kind in _ERRORS else "hint" if self.kind in _HINTS else "warning"


def audit(datamodule: "AudioDataModule", examination: "Opened") -> list[Finding]:
    """Find all errors, warnings and hints of a data set.

    Args:
        datamodule: data module whose clips were examined.
        examination: result of :func:`audio_lightning.data.opening.examine`.

    Returns:
        The findings without duplicates, by severity, by :data:`KINDS`, and in the order of the data. Line breaks,
        escape characters and undecodable characters in file names are escaped, so that the texts can be displayed
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
    """Convert a problem to a finding, with separate kinds for the most common reasons of unreadable recordings."""
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
        yield Finding("unlisted", path, problem or "is not listed, and therefore not used")


def _recordings(examination: "Opened") -> Iterator[Finding]:
    """Findings about samples and sample rates of single recordings."""
    audio, facts = examination.audio, examination.audio.facts
    readable = audio.stops > audio.starts
    rates, counts = np.unique(facts["sample_rate"][readable], return_counts=True)
    # If no sample rate belongs to more than half of the recordings, none is unusual.
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
            lambda fact: f"has {fact['sample_rate']:,} Hz, while most recordings have {usual:,} Hz",
        ),
    }
    paths = _paths(examination)
    for kind, (odd, describe) in descriptions.items():
        for index in np.flatnonzero(odd & readable):
            yield Finding(kind, paths[index], describe(facts[index]))


def _cancelling(fact: np.void) -> str:
    ratio = float(fact["mean_rms"] / fact["rms"])
    level = f"is {-20 * np.log10(ratio):.0f} dB below them" if ratio > SILENCE else "is silent"
    return f"its {fact['channels']} channels cancel: their mean {level}; choose data.channel=left, right or each"


def _short(datamodule: "AudioDataModule", examination: "Opened") -> Iterator[Finding]:
    seconds = clip_seconds(datamodule, examination)
    whole = datamodule.num_samples / datamodule.sample_rate
    rows = np.flatnonzero((seconds > 0) & (seconds < SHORTEST * whole))
    clips = examination.manifest.table[["path", "start_seconds"]].iloc[rows]
    for path, start, lasting in zip(*(clips[name].tolist() for name in clips), seconds[rows].tolist()):
        where = f"{path}, from {start:g} s on" if start else path
        yield Finding("short", where, f"lasts {lasting:.3f} s, less than {SHORTEST:.0%} of a clip of {whole:g} s")


def _left_out(datamodule: "AudioDataModule", examination: "Opened") -> Iterator[Finding]:
    """Finding about the sounding duration that is never used, if each recording is cut to one clip."""
    if datamodule.hop_samples is not None:
        return
    from audio_lightning.data.clip_choice import left_out  # imports torch, which KINDS does not need

    whole = datamodule.num_samples / datamodule.sample_rate
    seconds = clip_seconds(datamodule, examination)
    stretches = datamodule.stretches().readable() if left_out(0 * seconds, seconds, whole) > MOST_LEFT_OUT else None
    if stretches is None or (share := left_out(stretches.first, stretches.last, whole)) <= MOST_LEFT_OUT:
        return
    longer = int((stretches.last > whole).sum())
    yield Finding(
        "left_out",
        f"{longer:,} of {len(stretches.last):,} recordings",
        f"{share:.0%} of the sounding duration is after the first {whole:g} s, the only clip of a recording; choose "
        f"data.hop_seconds={whole:g} for windows over whole recordings, data.clip_seconds=auto data.hop_seconds=auto, "
        "or longer clips",
    )


def clip_seconds(datamodule: "AudioDataModule", examination: "Opened") -> Float[np.ndarray, "rows"]:
    """Duration in seconds of each row of the manifest, before padding or cutting into windows.

    It is 0 for an unreadable recording, and at most the length of a clip for background noise, which is drawn from a
    longer recording.
    """
    manifest, whole = examination.manifest, np.iinfo(np.int64).max // 4
    stretches = cut(manifest, examination.recording, examination.audio, datamodule.sample_rate, whole, None)
    longest = np.where(stretches.background, datamodule.num_samples, whole)
    return np.minimum(stretches.length, longest) / datamodule.sample_rate


def _duplicates(examination: "Opened") -> Iterator[Finding]:
    """One finding for each set of recordings with identical samples."""
    hashes = np.ascontiguousarray(examination.audio.hashes)
    first_channel = np.zeros(len(hashes), dtype=bool)
    first_channel[examination.recording] = examination.manifest.table["channel"].to_numpy() <= 1
    # The hash of a silent or unreadable recording is zero.
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
        yield Finding("duplicate", paths[first], f"has the same samples as {named}{more}{contradiction}")


def _few_clips(manifest: Manifest) -> Iterator[Finding]:
    """Findings about classes with too few clips."""
    counts = {split: manifest.class_counts(split) for split in (*SPLITS, "")}
    # Splits without any clip are intended (data.split=all), or could not be made.
    used = [split for split in SPLITS if any(counts[split])]
    for number, name in enumerate(manifest.classes):
        total = sum(count[number] for count in counts.values())
        without = [split for split in used if not counts[split][number]]
        lacks = [f"has {total} clip{'s' * (total != 1)}, expected at least {FEWEST_A_CLASS}"] * (total < FEWEST_A_CLASS)
        lacks += [f"has no clip in {' and '.join(without)}"] * bool(without)
        if lacks:
            yield Finding("few_clips", f"class {name}", "; ".join(lacks))


def _paths(examination: "Opened") -> np.ndarray:
    """Path of every recording as in the table, with its channel if each channel is a clip."""
    paths, table = np.full(len(examination.audio), "", dtype=object), examination.manifest.table
    named = [f"{path}, channel {number}" if number else path for path, number in zip(table["path"], table["channel"])]
    paths[examination.recording] = np.array(named, dtype=object)
    return paths


def _labels(examination: "Opened", indices: Int64[np.ndarray, "some"]) -> dict[int, str]:
    """All labels of each recording in ``indices``, joined by slashes."""
    rows = np.flatnonzero(np.isin(examination.recording, indices))
    labels_of: dict[int, set[str]] = {index: set() for index in indices.tolist()}
    for index, label in zip(examination.recording[rows].tolist(), examination.manifest.table["label"].iloc[rows]):
        labels_of[index].add(label)
    return {index: "/".join(sorted(labels)) for index, labels in labels_of.items()}
