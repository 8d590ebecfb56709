"""Speech Commands: official splits, the task of 12 classes, the separate test set."""

import math
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from tiny_speech import COMMANDS, pack, speakers, speech, split_by_hash, write_clip, write_noise, write_words

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.manifest import SPLITS, Manifest
from audio_lightning.data.sources.speech_commands import SpeechCommands, official_split
from audio_lightning.data.splitting.splits import assign_splits

CLIPS = {"train": 5, "validation": 2, "test": 3}
OTHERS = ("bed", "zero")
TASK_12 = ("_silence_", "_unknown_", *COMMANDS)


def divided(datamodule: SpeechCommands) -> Manifest:
    """The manifest after all steps before decoding."""
    manifest = datamodule.read()
    assert not manifest.problems
    assign_splits(manifest, datamodule.plan)
    return datamodule.complete(manifest)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten words, two others and background noise, all empty files. Read only."""
    root = write_words(tmp_path_factory.mktemp("speech commands"), (*COMMANDS, *OTHERS), CLIPS)
    write_noise(root, 2)
    return root


@pytest.mark.parametrize(
    ("speaker", "split"),
    [("0a7c2a8d", "train"), ("0c40e715", "test"), ("0c540988", "test"), ("4c7c95de", "test"), ("022cd682", "test")],
)
def test_the_hash_agrees_with_the_published_sets(speaker: str, split: str) -> None:
    """Speakers of the published training and test archives."""
    assert official_split(speaker) == split


def test_the_hash_is_the_published_formula() -> None:
    names = [f"{number:08x}_nohash_{number % 5}.wav" for number in range(2000)] + ["no_such_thing.wav"]
    found = [official_split(name.partition("_nohash_")[0]) for name in names]
    assert found == [split_by_hash(name) for name in names]
    counts = Counter(found)
    assert 0.08 < counts["validation"] / 2001 < 0.12
    assert 0.08 < counts["test"] / 2001 < 0.12


def test_a_class_a_word(words: Path, tmp_path: Path) -> None:
    manifest = divided(speech(words))
    assert manifest.classes == tuple(sorted((*COMMANDS, *OTHERS)))
    assert [manifest.class_counts(split) for split in SPLITS] == [[CLIPS[split]] * 12 for split in SPLITS]
    row = manifest.table.iloc[0]
    speaker = speakers(row["split"], 1)[0]
    assert (row["path"], row["label"], row["group"]) == (f"bed/{speaker}_nohash_0.wav", "bed", speaker)
    assert not manifest.table["background"].any()


def test_no_speaker_is_in_two_official_sets(words: Path) -> None:
    table = divided(speech(words)).table
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert table["group"].nunique() == sum(CLIPS.values())


@pytest.mark.parametrize("task", [12, 35])
def test_custom_words_keep_their_order(words: Path, task: int) -> None:
    manifest = divided(speech(words, f"data.task={task}", "data.words=[zero,yes,off]"))
    assert manifest.classes == (() if task == 35 else TASK_12[:2]) + ("zero", "yes", "off")
    unknown = [] if task == 35 else [2, 2]
    assert manifest.class_counts("train") == [*unknown, 5, 5, 5]


def test_only_wav_files_in_folders_of_words_count(tmp_path: Path) -> None:
    write_words(tmp_path, ("no", "yes"), {"train": 1})
    for name in (
        "yes/LOUD.WAV",
        "yes/notes.txt",
        "yes/._0a.wav",
        ".git/x.wav",
        "_more_/x.wav",
        "docs/a.md",
        "lone.wav",
    ):
        write_clip(tmp_path / name)
    manifest = speech(tmp_path).read()
    assert manifest.classes == ("no", "yes")
    assert sorted(manifest.table["path"].str.rpartition("/")[2]) == sorted(
        [*(f"{name}_nohash_0.wav" for name in speakers("train", 1) * 2), "LOUD.WAV"]
    )


def test_official_lists_define_the_split(tmp_path: Path) -> None:
    write_words(tmp_path, ("no", "yes"), CLIPS)
    first, second, third = (f"{name}_nohash_0.wav" for name in speakers("train", 3))
    (tmp_path / "validation_list.txt").write_text(f"no/{first}\nyes/{first}\r\nzero/not_used.wav\n\n")
    by_hash = speech(tmp_path).read().table
    assert by_hash["split"].value_counts().to_dict() == {"train": 10, "test": 6, "validation": 4}
    (tmp_path / "testing_list.txt").write_text(f"no/{second}\nyes/{third}\nyes/gone.wav\nyes/{first}\n")
    manifest = speech(tmp_path).read()
    split = manifest.table.set_index("path")["split"]
    assert split[split != "train"].to_dict() == {
        f"no/{first}": "validation", f"yes/{first}": "validation", f"no/{second}": "test", f"yes/{third}": "test",
    }  # fmt: skip
    assert [str(problem) for problem in manifest.problems] == [
        f"testing_list.txt, line 3: there is no file yes/gone.wav in {tmp_path}",
        f"testing_list.txt, line 4: yes/{first} is also in validation_list.txt",
    ]


def test_list_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    write_words(tmp_path, ("no", "yes"), CLIPS)
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"validation_list.txt cannot be read: .*utf-8"):
        speech(tmp_path).read()


@pytest.mark.parametrize(("unknown", "silence"), [(10.0, 10.0), (4.0, 25.0), (0.0, 0.0), (1000.0, 1.0)])
def test_twelve_classes(words: Path, unknown: float, silence: float) -> None:
    options = (f"data.unknown_percent={unknown}", f"data.silence_percent={silence}")
    manifest = divided(speech(words, "data.task=12", *options))
    assert manifest.classes == TASK_12
    for split, clips in CLIPS.items():
        expected = [math.ceil(silence / 100 * 10 * clips), min(math.ceil(unknown / 100 * 10 * clips), 2 * clips)]
        assert manifest.class_counts(split) == [*expected, *[clips] * 10]
    assert len(manifest) == sum(sum(manifest.class_counts(split)) for split in SPLITS)
    table = manifest.table
    assert {path.partition("/")[0] for path in table["path"][table["label"] == "_unknown_"]} <= set(OTHERS)
    assert (table["background"] == (table["label"] == "_silence_")).all()
    assert table["background"].dtype == bool
    assert manifest.knows_groups


def test_ten_percent_are_rounded_up(words: Path) -> None:
    """5, 2 and 3 clips of each of three words: 10 % of 15, 6 and 9."""
    manifest = divided(speech(words, "data.task=12", "data.words=[yes,no,go]"))
    assert [manifest.class_counts(split)[:2] for split in SPLITS] == [[2, 2], [1, 1], [1, 1]]


def test_silence_is_made_of_all_background_recordings_in_turn(words: Path) -> None:
    datamodule = speech(words, "data.task=12", "data.silence_percent=8.0")
    table = divided(datamodule).table
    silence = table[table["background"]]
    assert list(silence["path"]) == [f"_background_noise_/noise {row % 2}.wav" for row in range(4 + 2 + 3)]
    assert [path.name for path in datamodule.noise_paths()] == ["noise 0.wav", "noise 1.wav"]
    assert all(path.is_file() for path in datamodule.noise_paths())


def test_the_seed_chooses_the_unknown_clips(words: Path) -> None:
    def chosen(seed: int) -> list[str]:
        table = divided(speech(words, "data.task=12", f"data.seed={seed}")).table
        return list(table["path"][table["label"] == "_unknown_"])

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)


def test_silence_needs_background_noise(tmp_path: Path) -> None:
    write_words(tmp_path, ("yes", "no", *OTHERS), CLIPS)
    options = ("data.task=12", "data.words=[yes,no]")
    assert not speech(tmp_path, *options).noise_paths()
    with pytest.raises(DataError, match=r"no \*.wav files in _background_noise_.*with data.silence_percent=0.0"):
        divided(speech(tmp_path, *options))
    assert divided(speech(tmp_path, *options, "data.silence_percent=0.0")).class_counts("test") == [0, 1, 3, 3]


def test_split_with_only_other_words_is_an_error(tmp_path: Path) -> None:
    write_words(tmp_path, COMMANDS, {"test": 3})
    write_words(tmp_path, OTHERS, CLIPS)
    write_noise(tmp_path)
    with pytest.raises(DataError, match=r"the train split has only clips of other words; choose data.split=speaker"):
        divided(speech(tmp_path, "data.task=12"))


@pytest.mark.parametrize("division", ["data.split=speaker", "data.folds=3"])
def test_other_divisions_keep_speakers_together_and_ignore_the_official_one(words: Path, division: str) -> None:
    options = (division, "data.test_fraction=0.3", "data.validation_fraction=0.2")
    manifest = divided(speech(words, "data.task=12", *options))
    spoken = manifest.table[~manifest.table["background"]]
    assert (spoken.groupby("group")["split"].nunique() == 1).all()
    assert any(official_split(speaker) != split for speaker, split in zip(spoken["group"], spoken["split"]))
    for split in SPLITS:
        silence, unknown, *commands = manifest.class_counts(split)
        assert silence == unknown == math.ceil(sum(commands) / 10) > 0


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    """The separate test set, with the published names."""
    root = tmp_path / "test set"
    first, second = speakers("test", 2)
    for word in COMMANDS:
        write_clip(root / word / f"{first}_nohash_0.wav")
    write_clip(root / f"yes/{second}_nohash_1.wav.wav")
    for number in range(3):
        write_clip(root / f"_silence_/{number}.wav")
    write_clip(root / f"_unknown_/bed_{first}_nohash_0.wav.wav")
    write_clip(root / f"_unknown_/backward_{second}_nohash_0.wav.wav")
    return root


def test_separate_test_set_replaces_the_test_split(words: Path, test_set: Path) -> None:
    manifest = divided(speech(words, "data.task=12", f"data.test_root={test_set}"))
    assert manifest.class_counts("test") == [3, 2, 2, *[1] * 9]
    assert manifest.class_counts("train") == [5, 5, *[5] * 10]
    table = manifest.table[manifest.table["split"] == "test"]
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in table["path"])
    assert not table["background"].any()
    groups = {label: set(rows["group"]) for label, rows in table.groupby("label")}
    first, second = speakers("test", 2)
    assert groups["_unknown_"] == groups["yes"] == {first, second}, "speakers, not <word>_<speaker>"
    assert groups["_silence_"] == {f"_silence_/{number}.wav" for number in range(3)}, "each its own"
    assert not manifest.missing_files()


def test_unexpected_classes_in_the_test_set_are_problems(words: Path, test_set: Path) -> None:
    write_clip(test_set / "wow/1.wav")
    (test_set / "_silence_").rename(test_set / "silence")
    manifest = speech(words, "data.task=12", f"data.test_root={test_set}").read()
    expected = ", ".join(TASK_12)
    assert [str(problem) for problem in manifest.problems] == [
        f"{test_set}/silence: is not a class of this task; expected {expected}",
        f"{test_set}/wow: is not a class of this task; expected {expected}",
        f"{test_set}: has no folder _silence_ with *.wav files",
    ]


def test_invalid_test_set(words: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no folder with .* check data.test_root"):
        speech(words, "data.task=12", f"data.test_root={tmp_path}/empty").read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.test_root=."], "data.task=35; choose data.task=12"),
        (["data.task=12", "data.test_root=.", "data.split=speaker"], "excludes data.split=speaker"),
        (["data.task=12", "data.test_root=.", "data.folds=5"], "excludes data.folds=5"),
        (["data.words=[yes,no,yes]"], r"data.words=\['yes', 'no', 'yes'\]: expected one word or more, each once"),
        (["data.words=[]"], "expected one word or more"),
        (["data.unknown_percent=-1.0"], r"data.unknown_percent=-1.0: expected 0.0 or more"),
        (["data.silence_percent=inf"], r"data.silence_percent=inf: expected 0.0 or more"),
        (["data.task=10"], r"data.task=10: expected 12 \| 35"),
    ],
)
def test_invalid_options(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        speech(tmp_path, *options)


def test_missing_words(words: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder of.* with \*.wav files; did you mean off\?"):
        speech(words, "data.words=[yes,of]").read()
    with pytest.raises(DataError, match=r"no folder marvin .* \(choices of data.words: bed, down"):
        speech(words, "data.words=[yes,marvin]").read()
    with pytest.raises(DataError, match=r"no folder with \*.wav files, .* data.download=true to download"):
        speech(tmp_path).read()
    with pytest.raises(DataError, match=r"gone: No such file or directory; check the folder"):
        speech(tmp_path / "gone").read()


def test_partially_unpacked_data_set(tmp_path: Path) -> None:
    write_words(tmp_path, ("yes",), CLIPS)
    write_words(tmp_path / ".unpacked", ("zero",), CLIPS)
    with pytest.raises(DataError, match=r"is not completely unpacked; data.download=true completes it"):
        speech(tmp_path).read()


def test_samples_reach_the_batches(tmp_path: Path) -> None:
    """From files to batches: silence is drawn again in each training epoch, and is fixed in validation."""
    write_words(tmp_path, (*COMMANDS, "bed"), {"train": 2, "validation": 1, "test": 1}, sound=True)
    write_noise(tmp_path, sound=True)
    datamodule = speech(tmp_path, "data.task=12", "data.batch_size=64")
    datamodule.setup()
    assert datamodule.leakage == "none found"
    assert datamodule.task.classes == TASK_12
    assert datamodule.class_counts("train") == [2, 2, *[2] * 10]
    first, again = (next(iter(datamodule.val_dataloader())) for _ in range(2))
    assert first["waveform"].shape == (12, 800)
    np.testing.assert_array_equal(first["waveform"], again["waveform"])
    assert (first["waveform"].abs().amax(1) > 0).all()


def test_both_archives_are_downloaded_once(
    words: Path, test_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_request(self, *_: object) -> None:
            served.append(self.path)

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SpeechCommands, "SHA256", pack(words, tmp_path / "all.tar.gz"))
    monkeypatch.setattr(SpeechCommands, "TEST_SHA256", pack(test_set, tmp_path / "test.tar.gz"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(SpeechCommands, "URLS", [f"{url}/all.tar.gz"])
        monkeypatch.setattr(SpeechCommands, "TEST_URLS", [f"{url}/test.tar.gz"])
        options = ("data.task=12", f"data.test_root={tmp_path}/new test", "data.download=true")
        try:
            manifests = [divided(speech(tmp_path / "new", *options)) for _ in range(2)]
        finally:
            server.shutdown()
    assert served == ["/all.tar.gz", "/test.tar.gz"]
    for manifest in manifests:
        assert manifest.class_counts("train") == [5, 5, *[5] * 10]
        assert manifest.class_counts("test") == [3, 2, 2, *[1] * 9]


def test_existing_words_are_not_downloaded(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpeechCommands, "URLS", ["http://127.0.0.1:9/closed.tar.gz"])
    assert len(speech(words, "data.download=true").read()) == 12 * sum(CLIPS.values())
