"""Logged media, read back from the files of TensorBoard and W&B."""

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch
from lightning.pytorch.loggers import Logger
from PIL import Image
from running import resume, run
from sklearn.metrics import average_precision_score, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audio_lightning.training.trainer as training
from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.core.errors import ConfigError
from audio_lightning.figures import evaluation as figures
from audio_lightning.loggers.loggers import Row, RunLogger
from audio_lightning.loggers.media.callback import MediaCallback
from audio_lightning.loggers.media.items import Confusion, Curves, Gallery, Item, Table
from audio_lightning.loggers.media.writers import show

SETTINGS = ["trainer.max_epochs=2", "trainer.log_every_n_steps=2", "augment=light", "logger=tensorboard"]


@pytest.fixture(scope="module")
def finished(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training with a dashboard. Read only."""
    folder = tmp_path_factory.mktemp("dashboard") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        run(tiny_urbansound8k, folder, *SETTINGS)
    return folder


@pytest.fixture(scope="module")
def events(finished: Path) -> EventAccumulator:
    return read_events(finished)


def read_events(folder: Path) -> EventAccumulator:
    everything = dict.fromkeys(("scalars", "images", "audio", "tensors"), 0)
    return EventAccumulator(str(folder / "tensorboard"), size_guidance=everything).Reload()


def text(events: EventAccumulator, name: str) -> str:
    (event,) = events.Tensors(f"{name}/text_summary")
    return event.tensor_proto.string_val[0].decode()


class Memory(Logger):
    """Logger that stores media and summary in memory."""

    name, version = "memory", ""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


@show.register
def _(logger: Memory, item: Item, epoch: int) -> None:
    logger.items[item.name] = item


class Collecting(RunLogger):
    """Logger that stores everything in memory."""

    title = "test"

    def __init__(self, save_dir: str, *, broken: bool = False) -> None:
        super().__init__(save_dir)
        self.broken, self.memory = broken, Memory()
        self.rows: list[Row] = []

    @property
    def items(self) -> dict[str, Item]:
        return self.memory.items

    def open(self) -> Memory:
        if self.broken:
            raise OSError(28, "No space left on device")
        return self.memory

    def write_row(self, row: Row) -> None:
        self.rows.append(row)


def shown(
    monkeypatch: pytest.MonkeyPatch, root: Path, folder: Path, *overrides: str, broken: bool = False
) -> tuple[dict[str, Any], Collecting]:
    """Train with a logger that keeps everything; metrics, and the logger."""
    logger, build = Collecting(str(folder), broken=broken), training.build

    def build_all_but_loggers(node: Any, kind: Any, *, where: str, **supplied: Any) -> Any:
        return logger if where.startswith("logger.") else build(node, kind, where=where, **supplied)

    monkeypatch.setattr(training, "build", build_all_but_loggers)
    return run(root, folder, *overrides), logger


def test_epochs_and_steps_each_have_their_axis(finished: Path, events: EventAccumulator) -> None:
    history = pd.read_csv(finished / "history.csv")
    for name in ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy", "validation/f1_macro"):
        found = events.Scalars(name)
        assert [event.step for event in found] == [1, 2]
        assert [event.value for event in found] == pytest.approx(list(history[name]))
    for name in ("train/step_loss", "train/gradient_norm"):
        assert [event.step for event in events.Scalars(name)] == [1, 3, 5]
    rates = {event.step: event.value for event in events.Scalars("learning_rate")}
    assert set(rates) == {1, 2, 3, 5}
    assert rates[2] == pytest.approx(history["learning_rate"][0])


def test_the_numbers_of_the_run_can_be_compared_with_those_of_others(finished: Path, events: EventAccumulator) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    for name in ("test/accuracy", "validation/loss", "parameters", "macs"):
        assert events.Scalars(f"results/{name}")[-1].value == pytest.approx(metrics[name])
    assert "lr: 0.01" in text(events, "config")
    (start,) = (
        data.content
        for tag, data in events.summary_metadata.items()
        for data in [data.plugin_data]
        if "session_start" in tag
    )
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    values = HParamsPluginData.FromString(start).session_start_info.hparams
    assert values["optimizer.lr"].number_value == 0.01
    assert values["model"].string_value == "CNN"
    assert values["loss.label_smoothing"].number_value == 0
    assert values["data.allow_leakage"].bool_value is False


def test_pictures_sound_and_tables_are_there(finished: Path, events: EventAccumulator) -> None:
    assert set(events.Tags()["images"]) == {
        "train/augmented", "test/confusion_matrix", "test/reliability", "test/roc", "test/pr", "test/mistakes",
    }  # fmt: skip
    for name in events.Tags()["images"]:
        with Image.open(io.BytesIO(events.Images(name)[0].encoded_image_string)) as image:
            assert min(image.size) > 200
            assert len(np.unique(np.asarray(image))) > 50
    predictions = pd.read_csv(finished / "predictions.csv")
    wrong = (predictions["label"] != predictions["predicted"]).sum()
    sounds = [name for name in events.Tags()["audio"] if name.startswith("test/mistakes/")]
    assert len(sounds) == min(16, wrong) > 0
    for name in events.Tags()["audio"]:
        samples, rate = soundfile.read(io.BytesIO(events.Audio(name)[0].encoded_audio_string))
        assert (rate, samples.shape) == (8000, (2000,))
        assert np.abs(samples).max() > 0.01
    assert text(events, "test/per_class").count("\n") == 4
    assert text(events, "test/mistakes").startswith("| label | predicted | probability | loss | path | start_seconds |")


def test_the_worst_mistakes_are_those_with_the_highest_losses(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, logger = shown(
        monkeypatch, tiny_urbansound8k, tmp_path / "run", "trainer.max_epochs=1", "dashboard.mistakes=2", "plots=false"
    )
    gallery = logger.items["test/mistakes"]
    assert isinstance(gallery, Gallery)
    predictions = pd.read_csv(tmp_path / "run/predictions.csv")
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    assert len(wrong) > 2
    losses = -np.log([row[f"probability {row['label']}"] for _, row in wrong.iterrows()])
    worst = wrong.iloc[np.argsort(-losses)[:2]]
    assert [clip.facts["path"] for clip in gallery.clips] == list(worst["path"])
    assert [clip.facts["predicted"] for clip in gallery.clips] == list(worst["predicted"])
    for clip in gallery.clips:
        recorded, _ = soundfile.read(tiny_urbansound8k / str(clip.facts["path"]), dtype="float32")
        assert np.allclose(clip.samples[: len(recorded)], recorded[:2000], atol=1e-4)
    table = logger.items["test/per_class"]
    assert isinstance(table, Table)
    for name, *cells in table.rows:
        scores, target = predictions[f"probability {name}"], predictions["label"] == name
        values = dict(zip(table.columns[1:], cells))
        assert values["average_precision"] == pytest.approx(average_precision_score(target, scores), abs=1e-5)
        assert values["roc_auc"] == pytest.approx(roc_auc_score(target, scores), abs=1e-5)
    confusion = logger.items["test/confusion_matrix"]
    assert isinstance(confusion, Confusion)
    assert confusion.counts.tolist() == pd.crosstab(predictions["label"], predictions["predicted"]).reindex(
        index=list(confusion.classes), columns=list(confusion.classes), fill_value=0
    ).to_numpy().tolist()  # fmt: skip


def test_a_dashboard_changes_nothing_about_the_training(
    finished: Path, tiny_urbansound8k: Path, tmp_path: Path
) -> None:
    run(tiny_urbansound8k, tmp_path / "run", *SETTINGS[:-1], "logger=none")
    with_dashboard, without = (read_checkpoint(path / "checkpoints/last.ckpt") for path in (finished, tmp_path / "run"))
    assert with_dashboard["state_dict"].keys() == without["state_dict"].keys()
    for name, value in with_dashboard["state_dict"].items():
        assert torch.equal(value, without["state_dict"][name]), name
    assert (finished / "predictions.csv").read_text() == (tmp_path / "run/predictions.csv").read_text()


def test_augmented_clips_do_not_change_random_states_or_modes(finished: Path) -> None:
    from audio_lightning.classifier.classifier import AudioClassifier
    from audio_lightning.loggers.media.galleries import _undisturbed

    classifier = AudioClassifier.load_from_checkpoint(finished / "checkpoints/best.ckpt")
    classifier.train()
    classifier.network.eval()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    with _undisturbed(classifier):
        assert (classifier.augmentation.training, classifier.front_end.training) == (True, False)
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    assert (classifier.front_end.training, classifier.network.training) == (True, False)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[:2]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_failed_write_does_not_end_the_training(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, _ = shown(monkeypatch, tiny_urbansound8k, tmp_path / "run", "trainer.max_epochs=1", broken=True)
    assert metrics["epochs"] == 1
    said = [line for line in capsys.readouterr().out.splitlines() if "No space left" in line]
    assert said == ["test: not everything is logged ([Errno 28] No space left on device); the training continues"]


@pytest.mark.full
def test_failed_media_do_not_end_the_training(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr(figures, "sheet", fail)
    _, logger = shown(monkeypatch, tiny_urbansound8k, tmp_path / "run", "trainer.max_epochs=1")
    assert "dashboard: no mistakes (no picture)" in capsys.readouterr().out
    assert {"test/per_class", "test/roc"} <= set(logger.items)


@pytest.mark.full
def test_without_test_clips_the_mistakes_are_those_of_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_folder(tmp_path / "data")
    more = ["data=folder", f"data.root={tmp_path / 'data'}", "data.split=train_only", "data.validation_fraction=0.3"]
    _, logger = shown(monkeypatch, tmp_path, tmp_path / "run", *more, "trainer.max_epochs=1")
    assert {name for name in logger.items if name.startswith("validation/")} >= {
        "validation/per_class",
        "validation/roc",
    }
    assert not any(name.startswith("test/") for name in logger.items)


@pytest.mark.full
def test_recordings_with_several_labels_have_curves_and_no_confusion_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny.write_table(tmp_path / "data", clips=12)
    table = pd.read_csv(root / "clips.csv")
    table["label"] = [label if row % 4 else f"{label}|extra" for row, label in enumerate(table["label"])]
    table.to_csv(root / "clips.csv", index=False)
    more = [
        "data=table",
        f"data.root={root}",
        "data.table=clips.csv",
        "data.label_separator='|'",
        "data.hop_seconds=0.125",
    ]
    _, logger = shown(monkeypatch, root, tmp_path / "run", *more, "trainer.max_epochs=1", "augment=light")
    assert "test/confusion_matrix" not in logger.items
    per_class = logger.items["test/per_class"]
    assert isinstance(per_class, Table)
    assert {"average_precision", "roc_auc", "threshold"} <= set(per_class.columns)
    curves, mistakes = logger.items["test/pr"], logger.items["test/mistakes"]
    assert isinstance(curves, Curves)
    assert curves.points
    assert isinstance(mistakes, Gallery)
    assert "probability" not in mistakes.table.columns


@pytest.mark.full
def test_groups_of_parameters_have_their_learning_rates(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["finetune.layer_decay=0.5", "trainer.max_epochs=1", "scheduler=none", "dashboard.augmented=0"]
    _, logger = shown(monkeypatch, tiny_urbansound8k, tmp_path / "run", *more, "dashboard.gradient_norms=false")
    rates = {name: value for name, value in logger.rows[-1].values.items() if name.startswith("learning_rate")}
    assert rates["learning_rate"] == rates["learning_rate/head"] == 0.01
    assert sorted(rates.values())[-3:] == pytest.approx([0.005, 0.01, 0.01])
    assert "train/augmented" not in logger.items
    assert not any("train/gradient_norm" in row.values for row in logger.rows)


@pytest.mark.parametrize("value", ["mistakes=-1", "mistakes=many", "augmented=1.5", "gradient_norms=3"])
def test_an_invalid_setting_is_an_error(value: str) -> None:
    name, _, text = value.partition("=")
    number: Any = text if text == "many" else json.loads(text)
    with pytest.raises(ConfigError, match=rf"dashboard\.{name}="):
        MediaCallback({name: number})


@pytest.mark.filterwarnings("error")
def test_class_names_are_unchanged() -> None:
    names = ["$^$", "$a$ and $b$", "_x_y", "50 % \\n", "日本", "a/b|c"]
    counts, line = np.eye(6, dtype=np.int64), np.array([0.0, 1.0])
    figures.png(figures.draw_confusion(counts, names, "test"))
    shown = [figures.legible(name) for name in names]
    figures.png(figures.curves([(name, line, line) for name in names], shown, ("x", "y"), "", diagonal=True))
    figures.png(figures.sheet([[np.eye(4)]] * 6, shown, 1.0, "clips"))


def test_many_classes_stay_legible(tmp_path: Path) -> None:
    from audio_lightning.loggers.media.per_class import MAX_NAMED_CURVES, MAX_POINTS, draw_curves, make_curves

    rng = np.random.default_rng(0)
    classes = tuple(f"class number {number}" for number in range(60))
    labels = torch.from_numpy(rng.integers(0, 59, 3000))  # none of the last class
    scores = torch.from_numpy(rng.random((3000, 60))).float()
    for curves in make_curves(classes, scores, torch.nn.functional.one_hot(labels, 60).bool()):
        assert set(curves) == {*classes[:-1]}
        assert all(0 <= curve.area <= 1 for curve in curves.values())
        item = draw_curves("test/roc", curves, ("x", "y"), "test")
        lowest = sorted(curves, key=lambda name: curves[name].area)[:MAX_NAMED_CURVES]
        assert {name for name, *_ in item.points} == {*lowest}
        assert len(item.points) <= MAX_NAMED_CURVES * (MAX_POINTS + 2)


@pytest.mark.full
def test_a_resumed_run_continues_the_same_event_files(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path / "run", "logger=tensorboard", "trainer.max_epochs=1")
    resume(tmp_path / "run", "trainer.max_epochs=2")
    events = read_events(tmp_path / "run")
    assert [event.step for event in events.Scalars("validation/loss")] == [1, 2]
    assert len(events.Images("train/augmented")) == 1
