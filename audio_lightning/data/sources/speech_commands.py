"""Speech Commands: recordings of single spoken words, one second long."""

import functools
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.download import download, is_half_unpacked
from audio_lightning.data.splitting.splits import SplitPlan

SILENCE, UNKNOWN = "_silence_", "_unknown_"
BACKGROUND = "_background_noise_"
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

Row = tuple[str, str, str, str]
"""Path, label, group and split."""


HOSTS = ("http://download.tensorflow.org/data", "https://storage.googleapis.com/download.tensorflow.org/data")
"""Hosts of the archives: the original one and a mirror."""


class SpeechCommands(AudioDataModule):
    """Speech Commands: ``<word>/<speaker>_nohash_<number>.wav``, with noise recordings in ``_background_noise_/``.

    The official split is defined by two lists in the data set, or, if one is missing, by the hash that created them
    (:func:`official_split`). It keeps each speaker, who is the ``group``, in one split. For your own recordings in this
    layout, ``split: speaker`` is the better choice.

    The task of 12 classes has ten words, all other words (``_unknown_``), and no speech (``_silence_``): see
    :meth:`complete`.

    Source: Warden (2018), Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv 1804.03209.

    Args:
        task: 35 for one class per word, 12 for the task of 12 classes.
        words: words that are classes, in this order; None for all word folders, or for the ten words of the task of 12
            classes.
        test_root: folder of the official test set of the task of 12 classes, with one folder per class; it replaces the
            test recordings in ``root``.
        download: download missing data: 2.4 GB, and 0.1 GB for ``test_root``.
        unknown_percent: clips of ``_unknown_`` in percent of the clips of the words; only for 12 classes.
        silence_percent: clips of ``_silence_`` in percent of the clips of the words; only for 12 classes.
        **options: see :class:`AudioDataModule`.

    Raises:
        ConfigError: invalid words or percentages, or contradictory options.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.speech_commands import SpeechCommands
        >>> options = dict(words=None, test_root=None, download=False, unknown_percent=10.0, silence_percent=10.0)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("go/0a7c2a8d_nohash_0.wav", "stop/0a7c2a8d_nohash_0.wav"):
        ...         (Path(root) / name).parent.mkdir()
        ...         (Path(root) / name).touch()
        ...     manifest = SpeechCommands(root=root, task=35, **options).read()
        >>> manifest.classes, manifest.table["group"].tolist()
        (('go', 'stop'), ['0a7c2a8d', '0a7c2a8d'])
    """

    URLS: ClassVar[tuple[str, ...]] = tuple(f"{host}/speech_commands_v0.02.tar.gz" for host in HOSTS)
    SHA256: ClassVar[str | None] = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
    TEST_URLS: ClassVar[tuple[str, ...]] = tuple(f"{host}/speech_commands_test_set_v0.02.tar.gz" for host in HOSTS)
    TEST_SHA256: ClassVar[str | None] = "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df"

    LISTS: ClassVar[dict[str, str]] = {VALIDATION: "validation_list.txt", TEST: "testing_list.txt"}

    def __init__(
        self,
        *,
        task: Literal[12, 35],
        words: list[str] | None,
        test_root: str | None,
        download: bool,
        unknown_percent: float,
        silence_percent: float,
        splits: SplitPlan = SplitPlan(),
        **options: Any,
    ) -> None:
        super().__init__(splits=splits, **options)
        self.has_unknown = task == 12
        self.words = words
        self.test_root = Path(test_root).expanduser().absolute() if test_root else None
        self.download = download
        self.unknown_percent = unknown_percent
        self.silence_percent = silence_percent
        if words is not None and (not words or len(set(words)) < len(words)):
            raise ConfigError(f"data.words={words}: expected one word or more, each once")
        for name, percent in (("unknown", unknown_percent), ("silence", silence_percent)):
            if not 0 <= percent < math.inf:
                raise ConfigError(f"data.{name}_percent={percent}: expected 0.0 or more")
        if test_root and task != 12:
            raise ConfigError(f"data.test_root is a test set of 12 classes, but data.task={task}; choose data.task=12")
        split, folds = splits.split, splits.folds
        if test_root and (split not in ("official", "auto") or folds):
            chosen = f"data.folds={folds}" if folds else f"data.split={split}"
            raise ConfigError(
                f"data.test_root is the test part of data.split=official and excludes {chosen}; leave one out"
            )

    def read(self) -> Manifest:
        """One row per recording; in the task of 12 classes, recordings of all other words are ``_unknown_``.

        Raises:
            DataError: there are no words, a requested word is missing, or the download fails.
        """
        if self.download:
            self._download()
        for folder in filter(None, (self.root, self.test_root)):
            if is_half_unpacked(folder):
                raise DataError(f"{folder} is not completely unpacked; data.download=true completes it")
        present = {word: names for word, names in _wav_names(self.root).items() if not word.startswith("_")}
        if not present:
            raise DataError(
                f"{self.root} has no folder with *.wav files, expected one for each word; check data.root, or "
                "set data.download=true to download the data set"
            )
        words = self.words or (COMMANDS if self.has_unknown else tuple(present))
        for word in words:
            if word not in present:
                raise DataError(
                    f"{self.root} has no folder {word} with *.wav files"
                    + did_you_mean(word, present, listing="choices of data.words")
                )
        classes = (SILENCE, UNKNOWN, *words) if self.has_unknown else tuple(words)
        used = present if self.has_unknown else {word: present[word] for word in words}
        listed, problems = self._lists(used)
        rows: list[Row] = []
        for word, names in used.items():
            label = word if word in words else UNKNOWN
            for name in names:
                speaker, path = speaker_of(name), f"{word}/{name}"
                split = official_split(speaker) if listed is None else listed.get(path, TRAIN)
                rows.append((path, label, speaker, split))
        if self.test_root is not None:
            test_rows, test_problems = self._test_set(self.test_root, classes)
            rows = [row for row in rows if row[3] != TEST] + test_rows
            problems += test_problems
        table = pd.DataFrame(rows, columns=["path", "label", "group", "split"])
        return Manifest(self.root, table, classes, problems)

    def complete(self, manifest: Manifest) -> Manifest:
        """In the task of 12 classes, draw the clips of ``_unknown_`` and create clips of ``_silence_``.

        In every split, their numbers are ``unknown_percent`` and ``silence_percent`` of the number of clips of the
        words, rounded up; ``_unknown_`` gets all available clips if there are fewer. A clip of ``_silence_`` is a
        random segment of a background recording at a random volume, in evaluation as well. A separate test set
        (``test_root``) is not changed.

        Raises:
            DataError: a split without any of the words, or no background recordings.
        """
        if not self.has_unknown:
            return manifest
        rng = np.random.RandomState(self.seed)
        splits, labels = (manifest.table[name].to_numpy() for name in ("split", "label"))
        kept = labels != UNKNOWN
        silent: list[str] = []
        for split in SPLITS:
            if split == TEST and self.test_root is not None:
                kept |= splits == TEST
                continue
            here = splits == split
            words = np.count_nonzero(here & (labels != UNKNOWN))
            if here.any() and not words:
                raise DataError(
                    f"data.split={self.plan.split}: the {split} split has only clips of other words; choose "
                    "data.split=speaker, data.folds=5, or other words with data.words"
                )
            unknown = rng.permutation(np.flatnonzero(here & (labels == UNKNOWN)))
            kept[unknown[: math.ceil(self.unknown_percent * words / 100)]] = True
            silent += [split] * math.ceil(self.silence_percent * words / 100)
        spoken = manifest.table[kept]
        return manifest.with_table(pd.concat([spoken, self._silence(silent)]) if silent else spoken)

    def noise_paths(self) -> list[Path]:
        """Background recordings of seconds to minutes, for augmentation with noise.

        There are none if the data has no folder ``_background_noise_``.
        """
        folder = self.root / BACKGROUND
        return [folder / name for name in (_names_in(folder) if folder.is_dir() else [])]

    def _silence(self, splits: Sequence[str]) -> pd.DataFrame:
        """Rows of the class silence, one for each given split, over all background recordings in turn."""
        recordings = self.noise_paths()
        if not recordings:
            raise DataError(
                f"{self.root} has no *.wav files in {BACKGROUND}, which the class {SILENCE} needs; put "
                "recordings of background noise there, or disable the class with data.silence_percent=0.0"
            )
        paths = [f"{BACKGROUND}/{recordings[row % len(recordings)].name}" for row in range(len(splits))]
        rows = pd.DataFrame({"path": paths, "split": list(splits)})
        return rows.assign(
            label=SILENCE, group="background noise", background=True, fold=-1, start_seconds=0.0, stop_seconds=np.nan
        )

    def _lists(self, used: Mapping[str, Sequence[str]]) -> tuple[dict[str, str] | None, list[Problem]]:
        """Split of every path in the official lists, if both exist, and problems of the lists."""
        if not all((self.root / name).is_file() for name in self.LISTS.values()):
            return None, []
        present = {f"{word}/{name}" for word, names in used.items() for name in names}
        listed: dict[str, str] = {}
        problems = []
        for split, list_name in self.LISTS.items():
            try:
                lines = (self.root / list_name).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{self.root / list_name} cannot be read: {error}; unpack the archive again") from error
            for number, path in enumerate(map(str.strip, lines), 1):
                where = f"{list_name}, line {number}"
                if path in present and listed.setdefault(path, split) != split:
                    problems.append(Problem(where, f"{path} is also in {self.LISTS[listed[path]]}"))
                elif path not in present and path.partition("/")[0] in used:
                    problems.append(Problem(where, f"there is no file {path} in {self.root}"))
        return listed, problems

    def _test_set(self, folder: Path, classes: Sequence[str]) -> tuple[list[Row], list[Problem]]:
        """Clips of the separate test set, with problems about unexpected and missing classes."""
        present = _wav_names(folder)
        problems = [
            Problem(str(folder / name), f"is not a class of this task; expected {', '.join(classes)}")
            for name in present
            if name not in classes
        ]
        problems += [
            Problem(str(folder), f"has no folder {name} with *.wav files") for name in classes if name not in present
        ]
        rows = []
        for label in classes:
            for name in present.get(label, ()):
                group = f"{label}/{name}" if label == SILENCE else speaker_of(name)
                if label == UNKNOWN:  # <word>_<speaker>_nohash_<number>.wav.wav
                    group = group.rpartition("_")[2]
                rows.append(((folder / label / name).as_posix(), label, group, TEST))
        if not rows:
            raise DataError(
                f"{folder} has no folder with *.wav files for any of {', '.join(classes)}; check "
                "data.test_root, or set data.download=true to download the test set"
            )
        return rows, problems

    def _download(self) -> None:
        for folder, urls, sha256 in (
            (self.root, self.URLS, self.SHA256),
            (self.test_root, self.TEST_URLS, self.TEST_SHA256),
        ):
            if folder is not None:
                present = functools.partial(_has_folders, folder)
                download(
                    urls, folder, sha256=sha256, present=present, progress=self.progress_of("downloading, in bytes")
                )


def speaker_of(name: str) -> str:
    """Speaker in a file name: the part before ``_nohash_``, or the whole name without such a part."""
    return name.partition("_nohash_")[0]


@functools.cache
def official_split(speaker: str) -> str:
    """Split of a speaker by the hash of Warden (2018): 10 % validation, 10 % test.

    It depends only on the speaker, so that no speaker changes splits when recordings are added.
    """
    largest = 2**27 - 1
    number = int(hashlib.sha1(speaker.encode(errors="surrogateescape")).hexdigest(), 16) % (largest + 1)
    percentage = number * (100.0 / largest)
    return VALIDATION if percentage < 10 else TEST if percentage < 20 else TRAIN


def _wav_names(root: Path) -> dict[str, list[str]]:
    """Names of the WAV files in each folder of ``root`` that has some."""
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        return {folder: names for folder in folders if (names := _names_in(root / folder))}
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}; check the folder") from error


def _names_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.name.lower().endswith(".wav") and not entry.name.startswith(".")
        )


def _has_folders(root: Path) -> bool:
    if not root.is_dir():
        return False
    with os.scandir(root) as entries:
        return any(entry.is_dir() and not entry.name.startswith((".", BACKGROUND)) for entry in entries)
