"""One training: its run folder, its reproducibility, and its metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch
from filelock import FileLock
from running import run

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import build, check_config, compose, quote_paths
from audio_lightning.core.errors import ConfigError, DataError, UserError
from audio_lightning.data.audit import audit
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.opening import examine
from audio_lightning.data.problems import ProblemsError
from audio_lightning.figures.run_figures import draw_run
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.run_folder import RunFolder, run_files
from audio_lightning.training.run import train


def test_the_run_folder_is_complete(trained: Path) -> None:
    draw_run(trained)
    expected = {
        "config.yaml", "metrics.json", "history.csv", "steps.csv", "predictions.csv", "per_class.csv",
        "environment.json", "curves.png", "confusion_matrix.png", "reliability.png", "checkpoints",
    }  # fmt: skip
    assert {path.name for path in trained.iterdir()} == expected
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    }
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_are_flat_and_follow_from_the_predictions(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    predictions = pd.read_csv(trained / "predictions.csv")
    assert list(predictions.columns[:2]) == ["path", "group"]
    assert len(set(predictions["group"])) > 1  # the recording that a clip comes from
    assert metrics["test/accuracy"] == pytest.approx((predictions["label"] == predictions["predicted"]).mean())
    assert metrics["num_clips/test"] == len(predictions) == 9
    shares = predictions.filter(like="probability ")
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    assert (shares.idxmax(axis=1).str.removeprefix("probability ") == predictions["predicted"]).all()
    expected = {
        "parameters",
        "macs",
        "epochs",
        "seconds",
        "clips_per_second",
        "split",
        "leakage",
        "validation/accuracy",
    }
    assert expected <= set(metrics)
    assert all(isinstance(value, (int, float, str)) for value in metrics.values())
    assert metrics["macs"] > metrics["parameters"] > 0
    assert metrics["leakage"] == "none found"


def test_the_history_has_one_row_per_epoch_and_best_is_the_best(trained: Path) -> None:
    history = pd.read_csv(trained / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4]
    metrics = json.loads((trained / "metrics.json").read_text())
    best = history.loc[history["validation/accuracy"].idxmax()]
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["validation/loss"] == pytest.approx(best["validation/loss"])
    assert history["step"].is_monotonic_increasing


def test_last_is_the_last_epoch(trained: Path) -> None:
    last = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 3
    assert last["optimizer_states"]


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    trained: Path, tiny_urbansound8k: Path, tmp_path: Path
) -> None:
    run(tiny_urbansound8k, tmp_path / "same")
    run(tiny_urbansound8k, tmp_path / "other", "seed=1")
    first, same, other = weights(trained), weights(tmp_path / "same"), weights(tmp_path / "other")
    assert all(torch.equal(first[name], same[name]) for name in first)
    names = [name for name in first if name.startswith("network.") and name.endswith("weight")]
    assert names
    assert not any(torch.equal(first[name], other[name]) for name in names)
    assert (trained / "predictions.csv").read_text() == (tmp_path / "same/predictions.csv").read_text()


def test_another_seed_or_epoch_gives_other_batches(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        from audio_lightning.config import build, compose, quote_paths

        config = compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}", f"seed={seed}"]))
        datamodule = build(config.data, AudioDataModule, where="data")
        datamodule.setup()
        loader = datamodule.train_dataloader()
        loader.batch_sampler.sampler.set_epoch(epoch)
        return [row for batch in loader for row in batch["clip"].tolist()]

    assert order(0, 0) == order(0, 0)
    assert sorted(order(0, 0)) == sorted(order(1, 0))
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("feature=waveform", "cnn takes a spectrogram, and the feature gives a waveform"),
        ("feature.f_max=5000.0", r"f_max"),
        ("data.split=groupd", r"data\.split='groupd': expected auto \| official"),
        ("+optimizer.amsgrd=true", "there is no key optimizer.amsgrd; did you mean optimizer.amsgrad"),
        ("trainer.precision=17-mixed", "trainer: "),
        ("loss.class_weights=some", r"loss\.class_weights=some: expected none or balanced"),
        ("loss.label_smoothing=1.0", r"loss\.label_smoothing=1\.0: expected at least 0 and less than 1"),
        ("trainer.accelerator=abacus", "trainer: "),
        ("trainer.max_time=90", r"trainer\.max_time=90: expected DD:HH:MM:SS"),
        ("trainer.gradient_clip_algorithm=5", r"trainer\.gradient_clip_algorithm=5: expected text \| null"),
        ("trainer.num_nodes=null", r"trainer\.num_nodes=null: expected a whole number"),
        ("optimizer.lr=null", r"^optimizer\.lr=null: expected a number$"),
        ("model.channels=null", r"^model\.channels=null: expected a list of a whole number$"),
        ("model.dropout=1.5", "model: CNN refuses its arguments: dropout probability"),
        ("model.hidden_dim=-3", "model: CNN refuses its arguments"),
    ],
)
def test_impossible_settings_are_errors_before_any_audio_is_read(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.setattr(AudioDataModule, "setup", lambda self: pytest.fail("audio was read"))
    settings = [] if "=waveform" in override else ["data.sample_rate=8000", "trainer=cpu"]
    with pytest.raises(ConfigError, match=message) as caught:
        run(tiny_urbansound8k, tmp_path / "run", override, settings=settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=sincnet", "feature=logmel"], "sincnet takes a waveform, and the feature gives a spectrogram; choose"),
        (["trainer.accelerator=abacus"], "trainer: "),
        (["trainer.max_epochs=0"], r"trainer\.max_epochs=0: must be at least 1"),
        (["data.clip_seconds=4s"], r"data\.clip_seconds='4s': expected a number"),
        (["optimizer.lr=-1"], "optimizer: AdamW refuses its arguments: Invalid learning rate"),
        (["scheduler.warmup_ratio=2.0"], "scheduler"),
        (["loss.label_smoothing=1.0"], r"loss\.label_smoothing=1\.0: expected"),
        (["callbacks.best=null"], r"callbacks\.best: missing"),
    ],
)
def test_impossible_settings_are_errors_before_recordings_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    root = tiny.write_folder(tmp_path / "recordings")
    monkeypatch.setattr("audio_lightning.training.run.settled_data", lambda config: pytest.fail("data was measured"))
    config = compose(quote_paths(["data=folder", f"data.root={root}", *overrides]))

    def start() -> None:
        check_config(config)
        train(config, RunFolder(tmp_path / "run"))

    with pytest.raises(ConfigError, match=message):
        start()
    assert not (tmp_path / "run").exists()


def test_a_relative_root_is_found_from_elsewhere(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_lightning.inference.evaluate import evaluate

    monkeypatch.chdir(tiny_urbansound8k.parent)
    run(Path(tiny_urbansound8k.name), tmp_path / "run", "trainer.max_epochs=1")
    monkeypatch.chdir(tmp_path)
    assert evaluate(tmp_path / "run").metrics["num_clips/test"] == 9


def test_clips_that_a_debug_setting_leaves_out_are_not_counted(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    metrics = run(tiny_urbansound8k, tmp_path / "run", "debug=tiny")
    assert metrics["num_clips/test"] == len(pd.read_csv(tmp_path / "run/predictions.csv")) == 8  # of 9, one batch


def test_all_problems_of_the_data_are_reported_together(tmp_path: Path) -> None:
    import tiny

    root = tiny.write_urbansound8k(tmp_path / "data")
    (root / "audio/fold1/1000-0-0-0.wav").unlink()
    (root / "audio/fold2/2000-0-0-1.wav").write_bytes(b"RIFF")
    with (root / "metadata/UrbanSound8K.csv").open("a") as file:
        file.write("short,row\n")
    with pytest.raises(ProblemsError) as caught:
        run(root, tmp_path / "run")
    message = str(caught.value)
    assert message.startswith("3 problems in the data")
    assert "UrbanSound8K.csv, line 38: has 2 fields" in message
    assert "audio/fold1/1000-0-0-0.wav: there is no such file" in message
    assert "audio/fold2/2000-0-0-1.wav: " in message
    assert len(pd.read_csv(tmp_path / "run/problems.csv")) == 3


@pytest.mark.parametrize(("policy", "clips"), [("skip", 8), ("silence", 9)])
def test_bad_recordings_can_be_left_out_or_be_silence(tmp_path: Path, policy: str, clips: int) -> None:
    import tiny

    root = tiny.write_urbansound8k(tmp_path / "data")
    (root / "audio/fold4/4000-0-0-1.wav").write_bytes(b"RIFF")
    metrics = run(root, tmp_path / "run", f"data.bad_recordings={policy}", "trainer.max_epochs=1")
    assert metrics["num_clips/test"] == clips
    assert len(pd.read_csv(tmp_path / "run/problems.csv")) == 1


def test_leaking_data_stops_the_run_or_stamps_it(tmp_path: Path) -> None:
    import tiny

    root = tiny.write_urbansound8k(tmp_path / "data")
    samples, rate = soundfile.read(root / "audio/fold1/1000-0-0-0.wav")
    soundfile.write(root / "audio/fold4/4000-0-0-0.wav", samples, rate)
    with pytest.raises(DataError, match=r"content audio/fold1/1000-0-0-0\.wav .* = audio/fold4/4000-0-0-0\.wav"):
        run(root, tmp_path / "stopped")
    metrics = run(root, tmp_path / "allowed", "data.allow_leakage=true", "trainer.max_epochs=1")
    assert metrics["leakage"] == "present"


def test_a_single_class_is_a_problem_of_training_but_can_be_evaluated(trained: Path, tmp_path: Path) -> None:
    import tiny

    root = tiny.write_folder(tmp_path / "top/sounds")
    with pytest.raises(
        DataError, match=r"all \d+ clips are of one class, sounds, .*; did you mean data.root=.*/top/sounds"
    ):
        run(tmp_path / "top", tmp_path / "run", "data=folder")
    assert not RunFolder(tmp_path / "run").is_begun
    config = compose(["data=folder", f"data.root={tmp_path / 'top'}", "data.clip_seconds=0.25"])
    datamodule = build(config.data, AudioDataModule, where="data")
    assert [finding.kind for finding in audit(datamodule, examine(datamodule))] == ["classes"]
    one = tmp_path / "one"
    one.mkdir()
    (root / "noise").rename(one / "noise")
    found = evaluate(trained, ["data=folder", f"data.root={one}", "data.split=all"])
    assert found.metrics["num_clips/test"] == len(list(one.rglob("*.wav")))


def test_a_loss_that_is_not_finite_ends_the_run(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training loss became (nan|inf) in epoch"):
        run(tiny_urbansound8k, tmp_path / "run", "optimizer=sgd", "optimizer.lr=1e30", "model.batch_norm=false")


@pytest.mark.parametrize(
    "name", ["metrics.json", "history.csv", "lr_finder.csv", "checkpoints/last.ckpt", "checkpoints/epoch=3.ckpt"]
)
def test_a_folder_with_a_run_is_not_overwritten(name: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for left in ("config.yaml", "environment.json", "problems.csv", "train.log"):
        (tmp_path / left).touch()
    folder.check_usable()
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"holds a run already; continue it with resume="):
        folder.check_usable()


def test_a_folder_is_locked(tmp_path: Path) -> None:
    one, other = RunFolder(tmp_path), RunFolder(tmp_path)
    with one.taken():
        for refused in (other.check_usable, other.taken().__enter__):
            with pytest.raises(ConfigError, match="another process is training there; wait until it ends, or choose"):
                refused()
    with other.taken():
        pass
    other.check_usable()
    (tmp_path / "metrics.json").touch()
    assert run_files(one) == [tmp_path / "metrics.json"], "the lock is nothing to keep"


def test_a_folder_on_a_file_system_without_locks_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileLock, **options: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with RunFolder(tmp_path).taken():
        pass


@pytest.mark.parametrize("overrides", [
    ["loss.class_weights=balanced", "loss.label_smoothing=0.1"],
    ["feature=mfcc", "feature.n_mfcc=13", "feature.n_mels=20", "feature.normalize=clip"],
    ["feature=spectrogram", "optimizer=sgd", "scheduler=none"],
    ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "monitor=validation/loss"],
    ["logger=[csv,tensorboard]", "optimizer=adam", "scheduler=onecycle"],
    ["data.split=grouped", "data.test_fraction=0.4", "data.validation_fraction=0.3"],
    ["data.num_workers=1"],
], ids=lambda overrides: overrides[0])  # fmt: skip
def test_choices_train(tiny_urbansound8k: Path, tmp_path: Path, overrides: list[str]) -> None:
    import tiny

    settings = [line for line in tiny.TRAIN_OVERRIDES if not line.startswith(("feature", "optimizer"))]
    metrics = run(tiny_urbansound8k, tmp_path, "trainer.max_epochs=2", *overrides, settings=settings)
    assert 0 <= metrics["test/accuracy"] <= 1
    assert bool(list(tmp_path.glob("tensorboard/events*"))) == ("tensorboard" in overrides[0])


def test_it_learns(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    metrics = run(tiny_urbansound8k, tmp_path, "trainer.max_epochs=15", "monitor=validation/loss")
    assert metrics["test/accuracy"] >= 0.9


def test_cached_features_do_not_change_the_results(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    """Also if only some features fit: 7 clips of 16 bins and 26 frames."""
    histories = []
    for number, gigabytes in enumerate((0.0, 1.0, 7 * 4 * 16 * 26 / 1e9)):
        run(tiny_urbansound8k, tmp_path / str(number), f"feature_memory_gb={gigabytes}")
        history = pd.read_csv(tmp_path / str(number) / "history.csv")
        histories.append(history.drop(columns=["seconds", "training_seconds"]))
    pd.testing.assert_frame_equal(histories[0], histories[1], check_exact=True)
    pd.testing.assert_frame_equal(histories[0], histories[2], check_exact=True)


@pytest.mark.parametrize("calibration", ["auto", "none"])
def test_the_checkpoint_has_the_typical_duration_of_each_class(tmp_path: Path, calibration: str) -> None:
    """The median over the validation clips, whose sounds last 0.06, 0.1 and 0.2 s, and 0.16 s in the second class."""
    rng = np.random.default_rng(0)
    lasting = {"validation": ([0.06, 0.1, 0.2], [0.16]), "train": ([0.2] * 4, [0.2] * 4), "test": ([0.2], [0.2])}
    for split, of_classes in lasting.items():
        for label, durations in zip("ab", of_classes):
            for number, seconds in enumerate(durations):
                samples = 1e-4 * rng.normal(size=2000)
                samples[160 : 160 + round(8000 * seconds)] = 0.2 * rng.choice([-1, 1], round(8000 * seconds))
                path = tmp_path / "data" / split / label / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, 8000)
    line = ["data=folder", "trainer.max_epochs=1", "plots=false", f"calibration={calibration}"]
    run(tmp_path / "data", tmp_path / "run", *line)
    found = AudioClassifier.load_from_checkpoint(RunFolder(tmp_path / "run").best).sounding_seconds
    assert found is not None
    assert found.tolist() == pytest.approx([0.1, 0.16], abs=1e-6)
