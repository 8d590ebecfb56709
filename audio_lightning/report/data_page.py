"""HTML report of a data set: problems, classes, splits, lengths, formats and audio examples.

The page is a single file without external resources and without scripts: style, pictures and audio are embedded, and
all text from the data is escaped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from audio_lightning.data.audit import KINDS, SEVERITIES, Finding, clip_seconds
from audio_lightning.data.loading.clips import cut
from audio_lightning.data.manifest import SPLITS
from audio_lightning.data.problems import join_equal, printable
from audio_lightning.report.pages import DECIBELS, MEL_BANDS, as_base64, write_page
from audio_lightning.report.pages import flac as _flac
from audio_lightning.report.pages import log_mel as _log_mel
from audio_lightning.report.pages import waveform as _waveform

if TYPE_CHECKING:
    from audio_lightning.data.datamodule import AudioDataModule
    from audio_lightning.data.opening import Opened

MEDIA_BYTES = 21_000_000
"""Largest size of pictures and audio in bytes; with tables and text, a page stays below 25 MB."""

PICTURE_BYTES = 30_000
"""Assumed size of the two pictures of a clip and its caption in bytes, an upper bound."""

CLIPS_A_CLASS = 3
LONGEST_SECONDS, SHORTEST_SECONDS = 5.0, 2.0
"""Number of clips per class, and bounds of their playback in seconds; many classes first reduce the number."""

FINDINGS_A_KIND = 50
PLACES_A_FINDING = 8
MOST_BARS = 24
"""Largest numbers of findings per kind, of places per finding, and of bars of a histogram."""


def write_data_page(
    file: Path, datamodule: "AudioDataModule", examination: "Opened", findings: Sequence[Finding]
) -> None:
    """Write the HTML report of a data set: content, findings, and some clips of each class.

    Args:
        file: HTML file to write or replace.
        datamodule: data module of the clips; its ``seed`` selects the examples.
        examination: result of :func:`audio_lightning.data.opening.examine`.
        findings: result of :func:`audio_lightning.data.audit.audit`.
    """
    seconds = clip_seconds(datamodule, examination)
    plan = Plan.of(len(examination.manifest.classes), datamodule.sample_rate)
    write_page(
        file,
        "data_page.html.j2",
        name=datamodule.root.name,
        source=type(datamodule).__name__,
        facts=_facts(datamodule, examination),
        severities=_by_severity(findings),
        total=len(findings),
        kinds=len({finding.kind for finding in findings}),
        notes=[printable(note) for note in examination.manifest.notes],
        windowed=datamodule.hop_samples is not None,
        classes=_classes(examination),
        lengths=_lengths(seconds[seconds > 0], datamodule.num_samples / datamodule.sample_rate),
        sources=_sources(examination),
        plan=plan,
        mel={"bands": MEL_BANDS, "decibels": DECIBELS, "top": datamodule.sample_rate / 2},
        examples=_examples(datamodule, examination, seconds, plan),
    )


@dataclass(frozen=True)
class Plan:
    """Number and length of the audio examples, so that the page does not become too large.

    Attributes:
        classes: number of classes with examples, the first ones.
        clips: number of examples per class.
        seconds: largest length of an example in seconds.
    """

    classes: int
    clips: int
    seconds: float

    @classmethod
    def of(cls, classes: int, sample_rate: int) -> "Plan":
        """Return the largest plan within :data:`MEDIA_BYTES`, also for audio that cannot be compressed."""
        bytes_a_second = 2 * sample_rate * 1.01 * 4 / 3  # upper bound of FLAC in base64
        for clips in range(CLIPS_A_CLASS, 0, -1):
            seconds = (MEDIA_BYTES / max(1, classes * clips) - PICTURE_BYTES) / bytes_a_second
            if seconds >= SHORTEST_SECONDS:
                return cls(classes, clips, min(seconds, LONGEST_SECONDS))
        return cls(int(MEDIA_BYTES / (PICTURE_BYTES + SHORTEST_SECONDS * bytes_a_second)), 1, SHORTEST_SECONDS)


def _facts(datamodule: "AudioDataModule", examination: "Opened") -> list[tuple[str, str, str]]:
    """Key figures of the data set: name, value and remark."""
    manifest, audio, rate = examination.manifest, examination.audio, datamodule.sample_rate
    hours = float((audio.facts["frames"] / np.maximum(1, audio.facts["sample_rate"])).sum()) / 3600
    duration = f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:,.1f} min"
    clips = cut(manifest, examination.recording, audio, rate, datamodule.num_samples, datamodule.hop_samples)
    unread = len(audio.errors)
    number = manifest.table["group"].nunique()
    groups = f"{number:,} groups (sources, speakers, …)" if manifest.knows_groups else "no groups known"
    labels = "several labels per clip" if manifest.label_separator is not None else "one label per clip"
    leakage = {
        "none found": "no group and no recording is in two splits",
        "present": "test metrics on these splits are optimistic",
        "cannot be excluded": "no groups are known; related clips may be in two splits",
    }
    return [
        (
            "Recordings",
            f"{len(audio):,}",
            f"{unread:,} cannot be read" if unread else "all can be read",
        ),
        ("Duration", duration, "of all recordings"),
        (
            "Clips",
            f"{len(clips):,}",
            f"windows of {len(manifest):,} rows; {groups}" if datamodule.hop_samples else groups,
        ),
        ("Clip length", f"{datamodule.num_samples / rate:g} s", f"padding: {datamodule.padding}"),
        ("Classes", f"{len(manifest.classes):,}", labels),
        ("Sample rate used", f"{rate:,} Hz", "other rates are resampled"),
        ("Split", examination.method or "none", f"data.split={datamodule.plan.split}"),
        ("Leakage", examination.leakage, leakage[examination.leakage]),
    ]


def _by_severity(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings by severity and kind; equal findings share a row."""
    groups = []
    for severity, about in SEVERITIES.items():
        kinds = []
        for kind in KINDS:
            found = [finding for finding in findings if finding.kind == kind and finding.severity == severity]
            if not found:
                continue
            shown = join_equal(found)[:FINDINGS_A_KIND]
            rest = len(found) - sum(len(same.where) for same in shown)
            rows = [(same.places(PLACES_A_FINDING), same.what) for same in shown]
            kinds.append({"kind": kind, "about": KINDS[kind], "count": len(found), "rows": rows, "rest": rest})
        if kinds:
            groups.append({"severity": severity, "about": about, "kinds": kinds})
    return groups


def _classes(examination: "Opened") -> dict[str, Any]:
    """Number of clips by class and split, with a column for clips without a split."""
    manifest = examination.manifest
    splits = [*SPLITS, *([""] if len(manifest.rows("")) else [])]
    counts = np.array([manifest.class_counts(split) for split in splits], dtype=np.int64).T
    return {
        "splits": [split or "no split" for split in splits],
        "clips": [len(manifest.rows(split)) for split in splits],
        "rows": list(zip(manifest.classes, counts.tolist())),
        "largest": max(1, int(counts.sum(axis=1).max(initial=0))),
    }


def _lengths(seconds: Float[np.ndarray, "clips"], whole: float) -> dict[str, Any]:
    """Histogram of clip lengths with round bin edges; the longest 1 % of the clips is one bar."""
    if not len(seconds):
        return {"bars": []}
    top = float(np.quantile(seconds, 0.99))
    step = next(
        nice * 10.0**power
        for power in range(-4, 9)
        for nice in (1, 2, 5)
        if top / (nice * 10.0**power) < MOST_BARS
    )  # fmt: skip
    places = np.floor(seconds / step + 1e-6).astype(np.int64)
    last = int(top / step + 1e-6)
    counts = np.bincount(np.minimum(places, last + 1), minlength=last + 2).tolist()
    bars = [(f"{place * step:g} to {(place + 1) * step:g} s", count) for place, count in enumerate(counts[:-1])]
    if counts[-1]:
        bars.append((f"{(last + 1) * step:g} s and longer", counts[-1]))
    return {
        "bars": bars,
        "largest": max(count for _, count in bars),
        "ticks": [(place, f"{place * step:g}") for place in range(0, last + 2, max(1, (last + 1) // 5))],
        "whole": whole,
        "whole_at": whole / step if whole <= (last + 1) * step else None,
        "shortest": float(seconds.min()),
        "median": float(np.median(seconds)),
        "longest": float(seconds.max()),
        "padded": float((seconds < whole - 1e-3).mean()),
        "cut": float((seconds > whole + 1e-3).mean()),
    }


def _sources(examination: "Opened") -> list[dict[str, Any]]:
    """Number of recordings by sample rate, format and number of channels."""
    facts = examination.audio.facts[examination.audio.stops > examination.audio.starts]
    columns = {
        "Sample rate": [f"{rate:,} Hz" for rate in facts["sample_rate"].tolist()],
        "Format": [" ".join(names).replace("_", " ") for names in facts[["container", "encoding"]].tolist()],
        "Channels": facts["channels"].tolist(),
    }
    return [
        {"title": title, "rows": Counter(values).most_common(MOST_BARS), "all": len(facts)}
        for title, values in columns.items()
    ]


def _examples(
    datamodule: "AudioDataModule", examination: "Opened", seconds: Float[np.ndarray, "rows"], plan: Plan
) -> Iterator[dict[str, Any]]:
    """Random readable clips of each class, selected by the seed."""
    manifest = examination.manifest
    targets = manifest.targets()
    for number, name in enumerate(manifest.classes[: plan.classes]):
        belongs = targets[:, number] > 0 if targets.ndim == 2 else targets == number
        rows = np.flatnonzero(belongs & (seconds > 0))
        drawn = np.random.default_rng((datamodule.seed, number)).permutation(rows)[: plan.clips]
        yield {"name": name, "clips": [_clip(datamodule, examination, row, seconds[row], plan) for row in drawn]}


def _clip(datamodule: "AudioDataModule", examination: "Opened", row: int, seconds: float, plan: Plan) -> dict[str, Any]:
    clip = examination.manifest.table.iloc[row]
    rate = datamodule.sample_rate
    start = round(clip["start_seconds"] * rate)
    samples = examination.audio[int(examination.recording[row])][start:]
    samples = samples[: max(1, round(min(seconds, plan.seconds) * rate))]
    peak = float(np.abs(samples).max())
    return {
        "path": clip["path"],
        "start": float(clip["start_seconds"]),
        "label": clip["label"],
        "split": clip["split"],
        "seconds": seconds,
        "shown": len(samples) / rate,
        "peak": 20 * np.log10(peak) if peak > 0 else None,
        "waveform": _waveform(samples / (peak or 1.0)),
        "mel": as_base64(_log_mel(samples, rate)),
        "audio": as_base64(_flac(samples, rate)),
    }
