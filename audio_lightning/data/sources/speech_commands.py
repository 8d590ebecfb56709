"""Speech Commands: recordings of one second, of one spoken word each."""

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
"""Where the archives are published, and a mirror."""


class SpeechCommands(AudioDataModule):
    """``<word>/<speaker>_nohash_<number>.wav``, and minutes of noise in ``_background_noise_/``.

    The official split is that of the two lists that come with the data, or, where they are missing, of the hash they
    were made with (:func:`official_split`). It never divides a speaker, who is the ``group``. Recordings of one's own
    in this layout are better divided by ``split: speaker``.

    The task of 12 classes has ten words, everything else that is said (``_unknown_``), and no speech (``_silence_``):
    see :meth:`complete`.

    Source: Warden (2018), Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv 1804.03209.

    Args:
        task: 35 for a class a word, 12 for the task of 12 classes.
        words: the words instead of all that are there, or of the ten; in the order of the classes.
        test_root: folder of the official test set of the task of 12 classes, with a folder a class; it takes the place
            of the recordings in ``root`` that would be tested on.
        download: fetch what is not there, 2.4 GB, and 0.1 GB for ``test_root``.
        unknown_percent: clips of ``_unknown_`` in percent of those of the words; 12 classes only.
        silence_percent: clips of ``_silence_`` in percent of those of the words; 12 classes only.
        **options: see :class:`AudioDataModule`.

    Raises:
        ConfigError: options that contradict each other.
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
            raise ConfigError(f"data.test_root is a test set of 12 classes, and data.task={task}: choose data.task=12")
        split, folds = splits.split, splits.folds
        if test_root and (split not in ("official", "auto") or folds):
            chosen = f"data.folds={folds}" if folds else f"data.split={split}"
            raise ConfigError(f"data.test_root is the test part of data.split=official, it cannot go with {chosen}")

    def read(self) -> Manifest:
        """One row a recording; in the task of 12 classes, all recordings of other words as ``_unknown_``.

        Raises:
            DataError: there are no words, or one that is asked for is missing; what can go wrong with a download.
        """
        if self.download:
            self._download()
        for folder in filter(None, (self.root, self.test_root)):
            if is_half_unpacked(folder):
                raise DataError(f"{folder} was not unpacked to the end: data.download=true completes it")
        present = {word: names for word, names in _wav_names(self.root).items() if not word.startswith("_")}
        if not present:
            raise DataError(
                f"{self.root} has no folder with *.wav files: expected one a word; is it the right data.root? "
                "data.download=true fetches the data set"
            )
        words = self.words or (COMMANDS if self.has_unknown else tuple(present))
        for word in words:
            if word not in present:
                raise DataError(
                    f"{self.root} has no folder {word} with *.wav files"
                    + did_you_mean(word, present, listing="there are, to choose from by data.words")
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
        """In the task of 12 classes, choose the clips of ``_unknown_`` and make those of ``_silence_``.

        In every split there are as many of each as a percentage of the clips of the words says, rounded up, or all
        that there are. Silence is a random stretch of a background recording, at a random volume, in evaluation, too.
        A test set of its own (``test_root``) is left as it is.

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
                    f"the {split} part has clips of other words only, by data.split={self.plan.split}; choose "
                    "data.split=speaker, data.folds=5, or words that it has by data.words"
                )
            unknown = rng.permutation(np.flatnonzero(here & (labels == UNKNOWN)))
            kept[unknown[: math.ceil(self.unknown_percent * words / 100)]] = True
            silent += [split] * math.ceil(self.silence_percent * words / 100)
        spoken = manifest.table[kept]
        return manifest.with_table(pd.concat([spoken, self._silence(silent)]) if silent else spoken)

    def noise_paths(self) -> list[Path]:
        """The background recordings, some seconds to minutes of noise each: what noise can be mixed from.

        There are none where the data has no folder ``_background_noise_``.
        """
        folder = self.root / BACKGROUND
        return [folder / name for name in (_names_in(folder) if folder.is_dir() else [])]

    def _silence(self, splits: Sequence[str]) -> pd.DataFrame:
        """A row for every split named, over all background recordings in turn."""
        recordings = self.noise_paths()
        if not recordings:
            raise DataError(
                f"{self.root} has no *.wav files in {BACKGROUND}, from which the class {SILENCE} is made; put "
                "recordings of background noise there, or leave the class out with data.silence_percent=0.0"
            )
        paths = [f"{BACKGROUND}/{recordings[row % len(recordings)].name}" for row in range(len(splits))]
        rows = pd.DataFrame({"path": paths, "split": list(splits)})
        return rows.assign(
            label=SILENCE, group="background noise", background=True, fold=-1, start_seconds=0.0, stop_seconds=np.nan
        )

    def _lists(self, used: Mapping[str, Sequence[str]]) -> tuple[dict[str, str] | None, list[Problem]]:
        """The split of every path in the official lists, if both are there, and what is wrong with them."""
        if not all((self.root / name).is_file() for name in self.LISTS.values()):
            return None, []
        present = {f"{word}/{name}" for word, names in used.items() for name in names}
        listed: dict[str, str] = {}
        problems = []
        for split, list_name in self.LISTS.items():
            try:
                lines = (self.root / list_name).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{self.root / list_name} cannot be read: {error}") from error
            for number, path in enumerate(map(str.strip, lines), 1):
                where = f"{list_name}, line {number}"
                if path in present and listed.setdefault(path, split) != split:
                    problems.append(Problem(where, f"{path} is in {self.LISTS[listed[path]]}, too"))
                elif path not in present and path.partition("/")[0] in used:
                    problems.append(Problem(where, f"there is no file {path} in {self.root}"))
        return listed, problems

    def _test_set(self, folder: Path, classes: Sequence[str]) -> tuple[list[Row], list[Problem]]:
        """The clips of the separate test set, and what is in it and should not be, or the other way round."""
        present = _wav_names(folder)
        problems = [
            Problem(str(folder / name), f"is not a class of this task: expected {', '.join(classes)}")
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
                f"{folder} has no folder with *.wav files for any of {', '.join(classes)}; is it the right "
                "data.test_root? data.download=true fetches the test set"
            )
        return rows, problems

    def _download(self) -> None:
        for folder, urls, sha256 in (
            (self.root, self.URLS, self.SHA256),
            (self.test_root, self.TEST_URLS, self.TEST_SHA256),
        ):
            if folder is not None:
                present = functools.partial(_has_folders, folder)
                download(urls, folder, sha256=sha256, present=present, progress=self.progress)


def speaker_of(name: str) -> str:
    """What comes before ``_nohash_`` in a file's name; the whole name where there is no such thing."""
    return name.partition("_nohash_")[0]


@functools.cache
def official_split(speaker: str) -> str:
    """The split that a speaker is in by the hash of Warden (2018): 10 % validate, 10 % test.

    It is a function of the speaker alone, so that nobody changes sides when recordings are added.
    """
    largest = 2**27 - 1
    number = int(hashlib.sha1(speaker.encode(errors="surrogateescape")).hexdigest(), 16) % (largest + 1)
    percentage = number * (100.0 / largest)
    return VALIDATION if percentage < 10 else TEST if percentage < 20 else TRAIN


def _wav_names(root: Path) -> dict[str, list[str]]:
    """Names of the WAV files in every folder of ``root`` that has some."""
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        return {folder: names for folder in folders if (names := _names_in(root / folder))}
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}; is it the right folder?") from error


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
