"""Opening of a data source: read its manifest, split it, check the splits, and decode the recordings."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8

from audio_lightning.audio import Channel
from audio_lightning.core.cores import cores
from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem, ProblemsError
from audio_lightning.data.source import Source
from audio_lightning.data.splitting.leakage import Leakage, LeakageError, guard_content, guard_sources
from audio_lightning.data.splitting.splits import SplitMethod, assign_splits
from audio_lightning.data.store.decoded import DecodedAudio
from audio_lightning.data.store.recordings import OneChannel


@dataclass(frozen=True)
class Pool:
    """All clips of a data source, before a seed or a setting selects some (:meth:`Source.complete`).

    Attributes:
        manifest: one row per clip, as returned by :meth:`Source.read`.
        content: content digest of each row's recording, see :func:`audio_lightning.data.store.decoded.content_digest`.
        noise: content digests of the noise recordings of the data set.
    """

    manifest: Manifest
    content: UInt8[np.ndarray, "rows 16"]
    noise: UInt8[np.ndarray, "recordings 16"]


@dataclass(frozen=True)
class Opened:
    """A data set with its splits and its decoded recordings.

    Attributes:
        manifest: usable rows, with their splits.
        recording: index of each row's recording in ``audio``.
        audio: decoded recordings: one per file, or per channel of a file if each channel is a clip.
        problems: problems of the data.
        method: method of the split; None if it cannot be made, which only :func:`examine` tolerates.
        leakage: result of the leakage checks.
        pool: all clips of the source.
    """

    manifest: Manifest
    recording: Int64[np.ndarray, "rows"]
    audio: DecodedAudio
    problems: list[Problem]
    method: SplitMethod | None
    leakage: Leakage
    pool: Pool


@dataclass(frozen=True)
class _Decoded:
    """Decoded recordings, the index of each row's recording, and the unusable rows with their problems."""

    recording: Int64[np.ndarray, "rows"]
    audio: DecodedAudio
    bad: Int64[np.ndarray, "bad"]
    problems: list[Problem]
    pool: Pool


def open_source(source: Source) -> Opened:
    """Read, split, check and decode a data source; raise an error if the data cannot be used.

    Raises:
        DataError: the folder is not a data set of this kind, or its splits leak or cannot be made.
        ProblemsError: invalid rows, missing or unreadable recordings, all of them at once.
    """
    checks = source.checks
    manifest = pool = _read(source)
    method: SplitMethod = source.plan.split
    leakage: Leakage = "cannot be excluded"
    problems = manifest.problems + source.missing(manifest)
    if not problems or checks.bad_recordings != "error":
        method = assign_splits(manifest, source.plan)
        manifest = source.complete(_used(manifest))
        leakage = guard_sources(manifest, method, allow=checks.allow_leakage)
    decoded = _decode(source, manifest, pool, problems)
    recording, audio, problems = decoded.recording, decoded.audio, problems + decoded.problems
    if problems and checks.bad_recordings == "error":
        raise ProblemsError(
            problems, "correct them, or choose data.bad_recordings=skip (or silence) to continue without them"
        )
    if checks.bad_recordings == "skip" and len(decoded.bad):
        kept = np.setdiff1d(np.arange(len(manifest)), decoded.bad)
        manifest, recording = manifest.select(kept), recording[kept]
        for split in source.plan.parts(method):
            if not len(manifest.rows(split)):
                raise DataError(f"no clip of the {split} split can be read; check data.root with audio-lightning check")
    copies = guard_content(manifest, recording, audio.hashes, method, allow=checks.allow_leakage)
    leakage = "present" if "present" in (leakage, copies) else leakage
    return Opened(manifest, recording, audio, problems, method, leakage, decoded.pool)


def examine(source: Source) -> Opened:
    """Find all problems of the data, without stopping at the first one.

    Raises:
        DataError: the folder is not a data set of this kind.
    """
    allow = source.checks.allow_leakage
    manifest = pool = _read(source)
    problems = manifest.problems + source.missing(manifest)
    method: SplitMethod | None = None
    leakage: Leakage = "cannot be excluded"
    if (reason := manifest.unusable_classes()) is not None:
        problems.append(Problem("classes", reason, "classes"))
    try:
        found = assign_splits(manifest, source.plan)
        manifest = source.complete(_used(manifest))
        method = found
        leakage = guard_sources(manifest, method, allow=allow)
    except LeakageError as error:
        leakage = "present"
        problems += _leaks(error)
    except DataError as error:
        problems.append(Problem("splits", str(error), "splits"))
    decoded = _decode(source, manifest, pool, problems)
    problems += decoded.problems
    if method is not None:
        try:
            copies = guard_content(manifest, decoded.recording, decoded.audio.hashes, method, allow=allow)
            leakage = "present" if copies == "present" else leakage
        except LeakageError as error:
            leakage = "present"
            problems += _leaks(error)
    return Opened(manifest, decoded.recording, decoded.audio, problems, method, leakage, decoded.pool)


def _leaks(error: LeakageError) -> list[Problem]:
    return [Problem("splits", leak, "leak") for leak in error.leaks]


def _read(source: Source) -> Manifest:
    manifest = source.read()
    if manifest.found and source.say is not None:
        source.say(manifest.found)
    return _by_channel(source, manifest)


def _used(manifest: Manifest) -> Manifest:
    """Remove clips without a split, see ``train_share`` of :class:`.SplitPlan`."""
    used = (manifest.table["split"] != "").to_numpy()
    return manifest if used.all() else manifest.select(np.flatnonzero(used))


def _by_channel(source: Source, manifest: Manifest) -> Manifest:
    """Add a row for every channel of a clip, if each channel is a clip."""
    if source.clip_settings.channel != "each":
        return manifest
    number, paths = pd.factorize(manifest.table["path"])
    recordings = source.recordings(list(paths))
    count = source.cache.channels(recordings, source.sample_rate)
    unknown = np.flatnonzero(count == 0)
    with ThreadPoolExecutor(cores()) as pool:
        count[unknown] = list(pool.map(recordings.count_channels, unknown.tolist()))
    count = count[number]
    channel = np.concatenate([np.arange(1, most + 1) for most in count])
    return manifest.with_table(manifest.table.iloc[np.repeat(np.arange(len(count)), count)].assign(channel=channel))


def _decode(source: Source, manifest: Manifest, pool: Manifest, known: list[Problem]) -> _Decoded:
    """Decode all clips of the source, not only those of this seed: trials are compared by the content of the source.

    Args:
        source: resolves paths, and has the cache.
        manifest: rows that are used.
        pool: all rows.
        known: problems whose recordings are not reported again.
    """
    recording, drawn = pd.factorize(_keys(manifest))
    paths, pooled = [key.partition("\0")[0] for key in drawn], _keys(pool)
    noise = [
        path.relative_to(source.root).as_posix() if path.is_relative_to(source.root) else str(path)
        for path in source.noise_paths()
    ]
    place = {key: index for index, key in enumerate(dict.fromkeys([*pooled, *noise, *drawn]))}
    named_by = [key.partition("\0") for key in place]
    recordings = source.recordings([path for path, _, _ in named_by])
    if (channel := source.clip_settings.channel) != "mean":
        others: Channel = "mean" if channel == "each" else channel
        recordings = OneChannel(recordings, [int(number) if number else others for _, _, number in named_by])
    every = source.cache.decode(recordings, source.sample_rate, progress=source.progress)
    of_pool, of_noise = (every.content[[place[path] for path in found]] for found in (pooled, noise))
    audio = every.select([place[path] for path in drawn])
    named, root = {problem.where for problem in known}, os.path.abspath(source.root)
    problems = [
        # The message of an error begins with the full path, which the problem has in `where`.
        Problem(paths[index], error.removeprefix(f"{os.path.join(root, paths[index])}: "), "unreadable")
        for index, error in audio.errors.items()
        if paths[index] not in named
    ]
    unreadable = np.zeros(len(paths), dtype=bool)
    unreadable[list(audio.errors)] = True
    seconds = ((audio.stops - audio.starts) / source.sample_rate)[recording]
    begin = manifest.table["start_seconds"].to_numpy()
    behind = ~unreadable[recording] & (begin > 0) & (begin >= seconds)
    problems += [
        Problem(
            paths[recording[row]],
            f"its clip begins at {begin[row]:g} s, after the end of the recording at {seconds[row]:.3f} s",
            "unreadable",
        )
        for row in np.flatnonzero(behind).tolist()
    ]
    bad = np.flatnonzero(unreadable[recording] | behind)
    return _Decoded(recording, audio, bad, problems, Pool(pool, of_pool, of_noise))


def _keys(manifest: Manifest) -> np.ndarray:
    """Key of each row's decoded audio: its path, and the channel if the row has one."""
    pairs = zip(manifest.table["path"], manifest.table["channel"].fillna(0).astype(int))
    return np.array([f"{path}\0{channel}" if channel else path for path, channel in pairs], dtype=object)
