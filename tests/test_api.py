"""The Python API for notebooks and programs."""

import signal
import subprocess
import sys
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import ModuleType

import foreign
import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
from foreign import outside  # noqa: F401 - a fixture
from sweep_folders import make_sweep, trial

import audio_lightning as al
from audio_lightning.compare.leaderboard import make_boards, write_leaderboard
from audio_lightning.compare.trial_table import read_results
from audio_lightning.core.errors import CheckpointError, ConfigError, DataError, UserError

# ruff: noqa: F811 - the fixture's name is that of an argument


@pytest.fixture(scope="module")
def settings(tiny_urbansound8k: Path) -> list[str]:
    return ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def finished(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> al.Run:
    folder = tmp_path_factory.mktemp("api") / "first (1)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        return al.train(*settings, folder=folder)


def test_import_is_fast_and_light() -> None:
    code = "import sys, audio_lightning as al; assert 'train' in dir(al); print([*sys.modules])"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in modules for name in ("torch", "lightning", "pandas", "numpy", "hydra"))
    code = "import sys, audio_lightning as al; al.train; print([*sys.modules])"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in modules for name in ("torch", "lightning"))


def test_exports_do_not_clash_with_module_names() -> None:
    """A module of the same name would take the place of a function once it is imported."""
    from audio_lightning import api

    assert al.__all__ == api.__all__
    package = Path(al.__file__).parent
    assert not {path.stem for path in package.iterdir()} & set(al.__all__)
    assert all(getattr(al, name).__doc__ for name in al.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = al.trane


def test_run_exposes_its_results(finished: al.Run) -> None:
    assert finished.metrics["num_clips/test"] == len(finished.predictions) == 9
    accuracy = (finished.predictions["label"] == finished.predictions["predicted"]).mean()
    assert accuracy == pytest.approx(finished.metrics["test/accuracy"])
    assert list(finished.history["epoch"]) == [1]
    assert set(finished.per_class["class"]) == set(tiny.CLASSES)
    assert {"curves", "confusion_matrix"} <= set(finished.plots)
    assert finished.plots["curves"]._repr_png_().startswith(b"\x89PNG")
    assert "test/accuracy" in finished._repr_html_()
    assert finished.config.model.hidden_dim == 16
    assert "finished in" in (finished.folder / "train.log").read_text()


def test_repeated_calls_return_the_run_and_other_settings_are_rejected(finished: al.Run, settings: list[str]) -> None:
    before = (finished.folder / "metrics.json").stat().st_mtime_ns
    assert al.train(*settings, folder=finished.folder).metrics == finished.metrics
    assert (finished.folder / "metrics.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        al.train(*settings, "seed=3", folder=finished.folder)


def test_other_recordings_need_another_run_folder(finished: al.Run, settings: list[str], tmp_path: Path) -> None:
    other = tiny.write_urbansound8k(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        al.train(*settings, f"data.root={other}", folder=finished.folder)


def test_settings_may_change_after_a_data_error(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path / "data")
    given = ["data=folder", f"data.root={root}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=1", "plots=false"]
    with pytest.raises(DataError, match=r"correct data\.group_pattern"):
        al.train(*given, "data.group_pattern=wav", folder=tmp_path / "run")
    assert al.train(*given, folder=tmp_path / "run").metrics["epochs"] == 1


def test_a_folder_is_named_by_the_time_of_the_call() -> None:
    from audio_lightning.config import compose

    compose(["hydra.run.dir=named"])
    first, second = (compose([], with_hydra=True).hydra.run.dir for _ in range(2))
    assert first != second


def test_interrupted_trainings_restore_the_signal_handler() -> None:
    from audio_lightning.api.training import interruptible

    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Lightning does
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_has_a_folder_of_its_own(settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = [*settings, "plots=false", "logger=none", "trainer.limit_train_batches=1"]
    first, second = al.train(*quick), al.train(*quick)
    assert first.folder != second.folder
    assert first.folder.parts[0] == "runs"
    assert "finished in" in (second.folder / "train.log").read_text()


def test_predict_and_embed_return_tables(finished: al.Run, tiny_urbansound8k: Path) -> None:
    folder = tiny_urbansound8k / "audio/fold1"
    found = al.predict(finished, folder)
    assert len(found) == 9
    assert found["error"].isna().all()
    shares = found[[f"probability {name}" for name in sorted(tiny.CLASSES)]]
    assert np.allclose(shares.sum(axis=1), 1)
    pd.testing.assert_frame_equal(found, al.predict(al.load(finished.folder), sorted(folder.iterdir())))
    whole = al.predict(finished, folder, per_recording=True, window_seconds=0.125)
    assert list(whole["path"]) == list(found["path"])
    assert np.allclose(whole.filter(like="probability").sum(axis=1), 1)
    vectors = al.embed(str(finished.folder), folder).filter(like="embedding")
    assert vectors.shape == (9, finished.classifier.network.embedding_dim)
    missing = al.predict(finished, tiny_urbansound8k / "none.wav")
    assert "cannot be opened" in missing["error"][0]


def test_evaluate_returns_metrics(finished: al.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = al.evaluate(finished, output=tmp_path / "out")
    assert found.metrics["test/accuracy"] == pytest.approx(finished.metrics["test/accuracy"])
    assert (tmp_path / "out/metrics.json").is_file()
    assert found.metrics["num_train_overlap"] == 0
    capsys.readouterr()
    assert al.evaluate(finished, "data.split=all").metrics["num_train_overlap"] == 18
    assert "18 of 36 clips were in the training data" in capsys.readouterr().err


def test_read_data_and_compute_features(settings: list[str], tiny_urbansound8k: Path) -> None:
    data = al.read_data(*settings)
    assert len(data.manifest) == 36
    path = tiny_urbansound8k / "audio/fold1" / Path(data.manifest.table["path"][0]).name
    assert al.compute_features(path, *settings[:4], "feature=mfcc", "feature.n_mfcc=13", "feature.n_mels=16").shape[
        :2
    ] == (1, 13)


def test_features_reach_to_the_end_of_a_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(8190), 8000)
    whole = ["feature=waveform", "data.sample_rate=8000", "data.clip_seconds=0.5"]
    assert al.compute_features(tmp_path / "long.wav", *whole).shape == (1, 8190)


def test_mistakes_are_raised_with_the_message_of_the_commands(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for call, message in (
        (lambda: al.train("model=resnt"), "did you mean resnet"),
        (lambda: al.compose("trainer.max_epoch=3"), "did you mean trainer.max_epochs"),
        (lambda: al.load(tmp_path / "none.ckpt"), "no such checkpoint"),
        (lambda: al.Run(tmp_path), "no finished training, as metrics.json is missing"),
        (lambda: al.Sweep(tmp_path), "expected a folder with sweep.json"),
        (lambda: al.sweep("model=cnn,resnt"), "did you mean resnet"),
        (lambda: al.train(folder=tmp_path / "file/run"), "file: Not a directory"),
        (lambda: al.train("resume=runs/first"), "use folder=RUN_DIR"),
        (lambda: al.sweep("model=cnn,lstm", "sweep.dry_run=true"), "not supported by al.sweep"),
        (lambda: al.leaderboard(), "give monitor, and a sweep"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_sweep_is_read(swept: Path) -> None:
    found = al.Sweep(swept)
    assert len(found.results) == 2
    assert found.leaderboard["n"].tolist() == [2]
    assert "board" not in al.leaderboard(swept)
    assert found.best.metrics["seed"] in (0, 1)
    assert "verdict" in found._repr_html_()
    assert found.page.is_file()


def test_leaderboard_has_notes(tmp_path: Path) -> None:
    several = [trial(0.8 + seed / 100, model=model, seed=seed) for model in ("cnn", "dnn") for seed in range(3)]
    make_sweep(tmp_path / "a", [trial(0.9, model="lstm")])
    make_sweep(tmp_path / "b", several)
    frame = al.leaderboard(tmp_path / "a", tmp_path / "b")
    assert sorted(frame["name"]) == ["cnn", "dnn"]
    left_out = "Left out, because they have fewer than half as many finished seeds as another row: lstm (1 of 3)."
    assert left_out in frame.attrs["notes"]
    assert any("95 % t interval over 3 seeds" in note for note in frame.attrs["notes"])
    leaking = make_sweep(tmp_path / "c", [trial(metrics={"leakage": "present"}, content="others", setup="<i>")])
    assert "(leakage present)" in al.Sweep(leaking.path)._repr_html_()


def test_boards_are_counted_as_in_the_file(tmp_path: Path) -> None:
    """The first has no row with the metric, and so none in the file."""
    contents = [trial(None, content="none"), trial(content="birds"), trial(content="bells")]
    files = make_sweep(tmp_path / "s", contents)
    write_leaderboard(files, make_boards(read_results([files]), "validation/accuracy", [], [files]))
    frame = al.leaderboard(tmp_path / "s")
    assert frame["board"].tolist() == pd.read_csv(files.leaderboard)["board"].tolist() == [2, 3]
    assert {note.partition(":")[0] for note in frame.attrs["notes"]} == {"Board 1", "Board 2", "Board 3"}
    assert al.Sweep(tmp_path / "s").best.folder.name.startswith("0001-")


@pytest.mark.full
def test_sweep_is_run_once(settings: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = [*settings, "seed=0,1", "plots=false", "logger=none"]
    first = al.sweep(*line, folder=tmp_path / "s")
    assert first.leaderboard["n"].tolist() == [2]
    capfd.readouterr()
    al.sweep(*line, folder=tmp_path / "s")
    assert "nothing was left to do; 2 had finished before" in capfd.readouterr().out


@pytest.mark.full
def test_a_script_without_a_guard_and_the_standard_input_sweep(settings: list[str], tmp_path: Path) -> None:
    line = [*settings, "seed=0,1", "plots=false", "logger=none"]
    script = f"import audio_lightning as al; print(len(al.sweep(*{line!r}, folder={str(tmp_path / 's')!r}).results))"
    (tmp_path / "script.py").write_text(script)
    for arguments, given in (["-"], script), ([str(tmp_path / "script.py")], None):
        found = subprocess.run([sys.executable, *arguments], input=given, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        assert found.stdout.splitlines()[-1] == "2"


def test_a_process_of_a_sweep_passes_over_the_main_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from audio_lightning.sweeps.executors.forkserver import _main_hidden

    main = ModuleType("__main__")
    main.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert "init_main_from_path" in get_preparation_data("trial")
    with _main_hidden():
        assert not any(name.startswith("init_main") for name in get_preparation_data("trial"))
    assert sys.modules["__main__"] is main


def test_user_models_are_trained_and_loaded(outside: Path, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *foreign.LINE, "trust=my_sounds"]
    assert al.compose(*line, config_dir=outside / "conf").trusted_modules == "my_sounds"
    with pytest.raises(ConfigError, match="there is no such feature"):
        al.compose(*line)
    with pytest.raises(ConfigError, match=r"^conf_dir=x: renamed; .*, or pass config_dir='x' in Python$"):
        al.train("conf_dir=x")
    run = al.train(*line, folder=tmp_path / "run", config_dir=outside / "conf")
    assert type(run.classifier.network).__name__ == "Pooled"
    recordings = tiny_urbansound8k / "audio/fold1"
    assert len(al.predict(tmp_path / "run", recordings, trust="my_sounds")) == 9
    with pytest.raises(CheckpointError, match="--trust my_sounds"):
        al.predict(tmp_path / "run", recordings)
