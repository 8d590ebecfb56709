"""Active learning: choice of windows to label next."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
from typer.testing import CliRunner
from untrained import CNN, write_member

import audio_lightning as al
from audio_lightning.cli.main import app
from audio_lightning.config import check_config, compose
from audio_lightning.inference import suggest as suggesting
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.suggest import COLUMNS, choose, suggest, uncertainty
from audio_lightning.planning.settle import build_data


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["suggest", *(str(argument) for argument in arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Twelve recordings of three windows each."""
    rng = np.random.default_rng(0)
    for number in range(12):
        label = tiny.CLASSES[number % 3]
        (tmp_path / "new" / label).mkdir(parents=True, exist_ok=True)
        samples = np.concatenate([tiny.sound(label, rng) for _ in range(3)])
        soundfile.write(tmp_path / f"new/{label}/{number}.wav", samples, tiny.RATE)
    return tmp_path / "new"


def badge(errors: np.ndarray, vectors: np.ndarray, number: int, seed: int) -> list[int]:
    """The same on the products themselves, which :func:`choose` never forms."""
    gradients = np.einsum("wc,wv->wcv", errors, vectors).reshape(len(errors), -1)
    gradients /= np.linalg.norm(vectors, axis=1).mean()
    generator = np.random.default_rng(seed)
    chosen = [int((gradients**2).sum(axis=1).argmax())]
    while len(chosen) < number:
        centers = [np.zeros(gradients.shape[1]), *gradients[chosen]]
        distances = np.stack([((gradients - center) ** 2).sum(axis=1) for center in centers]).min(axis=0)
        distances[chosen] = 0
        chosen.append(int(generator.choice(len(distances), p=distances / distances.sum())))
    return chosen


@pytest.mark.parametrize("multilabel", [False, True])
def test_choices_equal_badge(multilabel: bool) -> None:
    rng = np.random.default_rng(1)
    logits, vectors = rng.normal(size=(40, 4)), rng.normal(size=(40, 6))
    if multilabel:
        shares = 1 / (1 + np.exp(-logits))
        errors = shares - (shares >= 0.5)
    else:
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        errors = shares - np.eye(4)[shares.argmax(axis=1)]
    found = choose(shares, vectors, 10, multilabel=multilabel, seed=3)
    assert found.tolist() == badge(errors, vectors, 10, 3)


def test_each_group_of_equal_windows_is_drawn_once_before_repeating() -> None:
    """Margins alone would take all of the most uncertain group."""
    vectors = np.repeat(np.eye(5), 20, axis=0)
    shares = np.tile([0.55, 0.45], (100, 1))
    shares[:20] = 0.5
    assert set(choose(shares, vectors, 5) // 20) == set(range(5))


def test_all_windows_are_chosen_where_there_are_few() -> None:
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    found = choose(shares, np.ones((3, 2)), 50)
    assert sorted(found.tolist()) == [0, 1, 2]
    assert found[0] in (1, 2)  # the most uncertain first


def test_certain_windows_have_no_weight() -> None:
    shares = np.tile([1.0, 0.0], (50, 1))
    shares[[7, 30]] = 0.6, 0.4
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    assert set(choose(shares, vectors, 2).tolist()) == {7, 30}


def test_uncertainty_is_the_margin_to_the_second_class_or_to_a_threshold() -> None:
    shares = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])
    np.testing.assert_allclose(uncertainty(shares), [1.0, 0.0, 0.8])
    thresholds = np.array([0.5, 0.2, 1.0])
    shares = np.array([[0.5, 0.9, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.0]])
    np.testing.assert_allclose(uncertainty(shares, thresholds), [1.0, 0.0, 0.5])


def test_the_table_names_windows_of_the_folder(trained: Path, recordings: Path, tmp_path: Path) -> None:
    code, out, error = invoke(trained, recordings, "--n", 7, "--output", tmp_path / "next.csv")
    assert (code, error) == (0, "")
    assert out == f"written: {tmp_path / 'next.csv'}\n"
    table = pd.read_csv(tmp_path / "next.csv", keep_default_na=False)
    assert list(table) == list(COLUMNS)
    assert len(table) == 7 == len(table[["path", "start_seconds"]].drop_duplicates())
    assert all((recordings / path).is_file() for path in table["path"])
    assert (table["label"] == "").all()
    assert set(table["start_seconds"]) <= {0.0, 0.25, 0.5}
    assert table["score"].between(0, 1).all()


def test_predictions_equal_those_of_predict(trained: Path, recordings: Path) -> None:
    found = al.suggest(trained, recordings, number=36)
    known = al.predict(trained, recordings)
    known["path"] = [Path(path).relative_to(recordings).as_posix() for path in known["path"]]
    joined = found.merge(known, on=["path", "start_seconds"], suffixes=("", "_known"))
    assert len(joined) == len(found) == 36
    assert (joined["predicted"] == joined["predicted_known"]).all()
    shares = joined[[f"probability {name}" for name in tiny.CLASSES]].to_numpy()
    np.testing.assert_allclose(joined["probability"], shares.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(joined["score"], uncertainty(shares), atol=1e-5)


def test_the_same_seed_gives_the_same_table(trained: Path, recordings: Path) -> None:
    first, again, other = (invoke(trained, recordings, "--n", 9, "--seed", seed)[1] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_memory_is_bounded(trained: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few windows are kept, they are the most uncertain ones."""
    classifier = load_classifier(trained)
    every = sorted((one.score for one in suggest(classifier, [recordings], number=36).windows), reverse=True)
    monkeypatch.setattr(suggesting, "CANDIDATES", 4)
    monkeypatch.setattr(suggesting, "CANDIDATES_EACH", 0)
    few = [one.score for one in suggest(classifier, [recordings], number=36).windows]
    np.testing.assert_allclose(sorted(few, reverse=True), every[:4])


def test_labelled_windows_are_left_out(trained: Path, recordings: Path, tmp_path: Path) -> None:
    assert invoke(trained, recordings, "--n", 20, "--output", tmp_path / "first.csv")[0] == 0
    code, out, _ = invoke(trained, recordings, "--n", 50, "--labelled", tmp_path / "first.csv")
    assert code == 0
    first, others = (
        {(row["path"], row["start_seconds"]) for row in csv.DictReader(text.splitlines())}
        for text in ((tmp_path / "first.csv").read_text(), out)
    )
    assert len(others) == 16
    assert not first & others


def test_similar_recordings_come_first(trained: Path, recordings: Path) -> None:
    like = recordings / "noise/2.wav"
    found = al.suggest(trained, recordings, like=like, number=5)
    assert (found["score"].diff().dropna() <= 0).all()
    assert found["path"].is_unique
    assert "noise/2.wav" not in set(found["path"])  # the clip itself
    assert found["path"].str.startswith("noise/").iloc[:3].all()


def test_the_similarity_is_the_cosine_of_the_best_windows(trained: Path, recordings: Path) -> None:
    like = recordings / "noise/2.wav"
    found = al.suggest(trained, recordings, like=like, number=50).set_index("path")["score"]
    vectors = al.embed(trained, [like, recordings / "low_tone/1.wav"])
    values = vectors[[name for name in vectors if name.startswith("embedding")]].to_numpy(float)
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    assert found["low_tone/1.wav"] == pytest.approx((values[:3] @ values[3:].T).max(), abs=1e-5)


@pytest.mark.parametrize("source", ["table", "annotations"])
def test_a_filled_table_is_read_by_the_data_sources(
    trained: Path, recordings: Path, tmp_path: Path, source: str
) -> None:
    assert invoke(trained, recordings, "--n", 30, "--output", tmp_path / "next.csv")[0] == 0
    table = pd.read_csv(tmp_path / "next.csv")
    table["label"] = [path.partition("/")[0] for path in table["path"]]
    table.to_csv(tmp_path / "next.csv", index=False)
    columns = ["data.start_column=start_seconds", "data.stop_column=end_seconds"] if source == "table" else []
    config = compose(
        [f"data={source}", f"data.root={recordings}", f"data.table={tmp_path / 'next.csv'}", *columns,
         "data.sample_rate=8000", "data.clip_seconds=0.25", "data.hop_seconds=null"]
    )  # fmt: skip
    check_config(config)
    manifest = build_data(config)[0].read()
    assert not manifest.problems
    assert list(manifest.classes) == sorted(tiny.CLASSES)
    rows = {(row.path, round(row.start_seconds, 3)): row.label for row in manifest.table.itertuples()}
    expected = {(row.path, row.start_seconds): row.label for row in table.itertuples()}
    assert {place: rows[place] for place in expected} == expected


def test_several_labels(tmp_path: Path, recordings: Path) -> None:
    write_member(tmp_path / "m.ckpt", *CNN, multilabel=True, thresholds=(0.0, 0.0, 1.0))
    found = al.suggest(tmp_path / "m.ckpt", recordings, number=3)
    assert (found["predicted"] == "|".join(tiny.CLASSES[:2])).all()


def test_files_are_named_absolutely(trained: Path, recordings: Path) -> None:
    files = sorted(recordings.rglob("*.wav"))[:2]
    assert set(al.suggest(trained, files)["path"]) == {str(file) for file in files}


def test_unreadable_recordings_do_not_stop_the_others(trained: Path, recordings: Path) -> None:
    (recordings / "bad.wav").write_text("no sound")
    code, out, error = invoke(trained, recordings)
    assert code == 1
    assert len(out.splitlines()) == 37
    assert error.count("\n") == 1
    assert "bad.wav" in error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--like", "nothing.wav"], "nothing.wav"),
        (["--labelled", "nothing.csv"], "nothing.csv"),
        (["--hop", "0"], "--hop 0"),
        (["--output", "."], "--output"),
    ],
)
def test_mistakes_are_reported_in_one_line(trained: Path, recordings: Path, options: list[str], said: str) -> None:
    code, _, error = invoke(trained, recordings, *options)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
