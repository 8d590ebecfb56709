"""Configured metrics: every class of torchmetrics.classification, directions, and classes of trusted modules."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import choices
import pytest
import torch
import torchmetrics.classification as library
from omegaconf import OmegaConf
from running import run

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import check_config, compose
from audio_lightning.config import choices as names
from audio_lightning.config.trust import trusting
from audio_lightning.core.errors import CheckpointError, ConfigError, UserError
from audio_lightning.core.task import METRICS, MULTILABEL_METRICS, AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.metrics.configured import (
    HIGHER_IS_BETTER,
    TASKS,
    UNSUITABLE,
    ConfiguredMetrics,
    check_metrics,
    mode_of,
)
from audio_lightning.metrics.factory import make_metrics
from audio_lightning.run_folder import RunFolder

PROJECT = Path(__file__).parents[2]
NAMES = sorted(library.__all__)
NEEDS = {
    "FBetaScore": {"beta": 2.0},
    "PrecisionAtFixedRecall": {"min_recall": 0.5},
    "RecallAtFixedPrecision": {"min_precision": 0.5},
    "SensitivityAtSpecificity": {"min_specificity": 0.5},
    "SpecificityAtSensitivity": {"min_sensitivity": 0.5},
}
WITHOUT_MULTICLASS = ("CoverageError", "ExactMatch", "RankingAveragePrecision", "RankingLoss")
WITHOUT_MULTILABEL = ("CalibrationError", "CohenKappa", "HingeLoss")


def prefixed(name: str) -> tuple[str, str]:
    """Task of a torchmetrics class (empty for any), and its name without the task."""
    task = next((task for task in TASKS if name.startswith(task.capitalize())), "")
    return task, name[len(task) :]


def task(number: int = 3, *, multilabel: bool = False) -> AudioTask:
    return AudioTask(
        ("dog bark", "siren", "gun/shot", "drill", "music", "horn")[:number], 8000, 2000, multilabel=multilabel
    )


def made(name: str, number: int = 3, *, multilabel: bool = False, **arguments: Any) -> ConfiguredMetrics:
    target = name if "." in name else f"torchmetrics.classification.{name}"
    return ConfiguredMetrics({"mine": {"_target_": target, **arguments}}, task(number, multilabel=multilabel))


def clips(number: int = 3, *, multilabel: bool = False, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(60, number, generator=generator)
    if multilabel:
        return logits, (torch.rand(60, number, generator=generator) < logits.sigmoid()).float()
    return logits, (logits + torch.randn(60, number, generator=generator)).argmax(dim=1)


@pytest.mark.parametrize("multilabel", [False, True], ids=["one label", "several labels"])
@pytest.mark.parametrize("name", NAMES)
def test_every_metric_of_torchmetrics_is_computed_or_rejected_with_a_reason(name: str, multilabel: bool) -> None:
    """The value equals that of torchmetrics for all clips at once."""
    given, base = prefixed(name)
    usual = "multilabel" if multilabel else "multiclass"
    number = 2 if given == "binary" else 3
    arguments = NEEDS.get(base, {})
    if base in UNSUITABLE:
        with pytest.raises(ConfigError, match=r"metrics\.mine\._target_=\S+ cannot be used: it (returns|compares)"):
            made(name, number, multilabel=multilabel, **arguments)
        return
    if given not in ("", usual) and (given != "binary" or multilabel):
        with pytest.raises(ConfigError, match=f"metrics.mine: {given} metrics are for .*; use the {usual} metric"):
            made(name, number, multilabel=multilabel, **arguments)
        return
    if base in (WITHOUT_MULTILABEL if multilabel else WITHOUT_MULTICLASS):
        with pytest.raises(ConfigError, match="cannot be used: torchmetrics does not have it for"):
            made(name, number, multilabel=multilabel, **arguments)
        return
    metrics = made(name, number, multilabel=multilabel, _partial_=True, **arguments)
    logits, target = clips(number, multilabel=multilabel)
    probabilities = logits.sigmoid() if multilabel else logits.softmax(dim=1)
    found = metrics.compute(probabilities, target)
    assert list(found) == metrics.names
    assert all(value.isfinite() for value in found.values())
    cls = getattr(library, name if given else f"{usual.capitalize()}{base}")
    sizes = {} if given == "binary" else {"num_labels" if multilabel else "num_classes": number}
    reference = cls(**sizes, **arguments)
    reference.update(probabilities[:, 1] if given == "binary" else probabilities, target.long())
    wanted = reference.compute()
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    torch.testing.assert_close(found["mine"], wanted.float().nanmean() if wanted.dim() else wanted)


@pytest.mark.parametrize("multilabel", [False, True], ids=["one label", "several labels"])
@pytest.mark.parametrize("name", names("metrics"))
def test_every_choice_prefers_correct_predictions(name: str, multilabel: bool) -> None:
    """Every YAML in conf/metrics, for single-label or multi-label clips; the other task may be rejected."""
    nodes = choices.load("metrics", name)
    try:
        metrics = ConfiguredMetrics(nodes, task(6, multilabel=multilabel))
    except ConfigError:
        ConfiguredMetrics(nodes, task(6, multilabel=not multilabel))
        return
    _, target = clips(6, multilabel=multilabel)
    shares = target if multilabel else torch.nn.functional.one_hot(target, 6).float()
    right, wrong = (0.01 + 0.9 * part for part in (shares, 1 - shares))
    if not multilabel:
        right, wrong = (part / part.sum(dim=1, keepdim=True) for part in (right, wrong))
    good, bad = metrics.compute(right, target), metrics.compute(wrong, target)
    assert list(good) == metrics.names
    for key in metrics.names:
        if not key.endswith("_threshold"):  # a precision that no threshold may reach
            sign = -1 if key in metrics.lower_is_better else 1
            assert sign * good[key] > sign * bad[key]
    for key in nodes:
        assert mode_of(f"validation/{key}", nodes) in ("min", "max")


def test_every_metric_has_a_direction() -> None:
    """The direction of torchmetrics, where it defines one."""
    found = {}
    for name in NAMES:
        if prefixed(name)[1] not in UNSUITABLE:
            node = {"_target_": f"torchmetrics.classification.{name}"}
            found[name] = mode_of("validation/mine", {"mine": node})
            said = getattr(library, name).higher_is_better
            assert said is None or found[name] == ("max" if said else "min")
    less = {prefixed(name)[1] for name, mode in found.items() if mode == "min"}
    assert less == {"CalibrationError", "CoverageError", "EER", "HammingDistance", "HingeLoss", "RankingLoss"}
    silent = {
        prefixed(name)[1] for name in NAMES if prefixed(name)[0] and getattr(library, name).higher_is_better is None
    }
    assert silent - {*UNSUITABLE} == {*HIGHER_IS_BETTER}


@pytest.mark.parametrize("multilabel", [False, True])
def test_values_do_not_depend_on_the_batch_size(multilabel: bool) -> None:
    logits, target = clips(multilabel=multilabel)
    node = {"auroc": {"_target_": "torchmetrics.classification.AUROC"}}
    found = []
    for size in (60, 7, 1):
        metrics = make_metrics(task(multilabel=multilabel), ConfiguredMetrics(node, task(multilabel=multilabel)))
        for parts in zip(logits.split(size), target.split(size), torch.ones(60).split(size)):
            metrics.update(*parts)
        found.append({name: float(value) for name, value in metrics.compute().items()})
    assert tuple(found[0]) == (*(MULTILABEL_METRICS if multilabel else METRICS), "auroc")
    assert found[0] == found[1] == found[2]


def test_values_are_nan_without_clips() -> None:
    metrics = made("AUROC", average="none")
    found = metrics.compute(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))
    assert list(found) == ["mine_dog_bark", "mine_siren", "mine_gun_shot"]
    assert all(value.isnan() for value in found.values())


def test_one_value_per_class() -> None:
    logits, target = clips()
    recall = made("Recall", average="none").compute(logits.softmax(1), target)
    assert list(recall) == ["mine_dog_bark", "mine_siren", "mine_gun_shot"]
    assert made("Recall").compute(logits.softmax(1), target)["mine"] == pytest.approx(sum(recall.values()) / 3)


@pytest.mark.parametrize("average", ["none", None])
def test_recall_at_fixed_precision_has_thresholds(average: str | None) -> None:
    """The class has no ``average`` in torchmetrics."""
    logits, target = clips()
    probabilities = logits.softmax(1)
    found = made("RecallAtFixedPrecision", min_precision=0.6, average=average).compute(probabilities, target)
    assert len(found) == 6
    threshold = found["mine_siren_threshold"]
    guesses, right = probabilities[:, 1] >= threshold, target == 1
    assert (guesses & right).sum() / guesses.sum() >= 0.6
    assert found["mine_siren"] == pytest.approx(float((guesses & right).sum() / right.sum()))
    mean = made("RecallAtFixedPrecision", min_precision=0.6).compute(probabilities, target)
    assert mean == {
        "mine": pytest.approx(float(sum(found[f"mine_{name}"] for name in ("dog_bark", "siren", "gun_shot")) / 3))
    }


def test_classes_with_equal_metric_names_are_numbered() -> None:
    node = {"mine": {"_target_": "torchmetrics.classification.Recall", "average": "none"}}
    assert ConfiguredMetrics(node, AudioTask(("a b", "a/b"), 8000, 2000)).names == ["mine_0", "mine_1"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("AUROC", {"avrage": "macro"}, r"metrics\.mine has no argument avrage; did you mean average\?"),
        ("AUROC", {"average": "mean"}, r"metrics\.mine\.average='mean': expected macro \| weighted"),
        ("AUROC", {"num_classes": 7}, r"metrics\.mine\.num_classes=7: these clips have 3 classes; remove this key"),
        ("AUROC", {"thresholds": 10**9}, r"\.thresholds=1000000000: expected at most 3333333 for 3 classes"),
        ("CalibrationError", {"n_bins": 10**12}, r"metrics\.mine\.n_bins=1000000000000: expected at most"),
        ("AUROC", {"task": "ranking"}, r"metrics\.mine\.task=ranking: expected binary \| multiclass \| multilabel"),
        ("AUROC", {"task": "binary"}, "binary metrics are for two classes, and these clips have one label of 3"),
        ("Accuracy", {"top_k": 5}, "MulticlassAccuracy refuses its arguments"),
        ("RecallAtFixedPrecision", {}, r"metrics\.mine\.min_precision must be given"),
        ("RecallAtFixedPrecision", {"min_precision": 0.5, "average": "micro"}, "one value per class; expected macro"),
        ("Accuracy", {"multidim_average": "samplewise"}, "expected one number, or one per class|cannot be computed"),
    ],
)  # fmt: skip
def test_invalid_arguments_are_rejected_with_the_reason(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(name, **arguments)


@pytest.mark.parametrize(
    "target",
    ["torch.nn.CrossEntropyLoss", "torch.load", "torch.hub.load", "torchmetrics.Metric", "torchmetrics.MeanMetric",
     "torchmetrics.classification.auroc.Metric", "torchmetrics.classification.base._ClassificationTaskWrapper",
     "torchmetrics.classification.auroc._multiclass_auroc_compute", "torchmetrics.functional.accuracy",
     "torchmetrics.wrappers.BootStrapper", "torchmetrics.classification.torch.load", "lightning.pytorch.Trainer",
     "audio_lightning.metrics.base.Predictions", "audio_lightning.metrics.multiclass.ClassificationMetrics",
     "audio_lightning.metrics.configured.torch.load", "os.system"],
)  # fmt: skip
def test_targets_that_are_not_metrics_are_rejected(target: str) -> None:
    with pytest.raises(ConfigError, match=r"^metrics\.mine\._target_="):
        made(target)


@pytest.mark.parametrize("name", ["accuracy", "loss", "mean_average_precision", "recording_auroc", "a/b", "a b", "1st"])
def test_ambiguous_names_are_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^metrics\.{name}: (invalid name|every evaluation has a metric)"):
        ConfiguredMetrics({name: {"_target_": "torchmetrics.classification.AUROC"}}, task())


def test_names_of_two_metrics_are_rejected() -> None:
    recall = {"_target_": "torchmetrics.classification.Recall"}
    nodes = {"recall": {**recall, "average": "none"}, "recall_siren": recall}
    with pytest.raises(ConfigError, match=r"metrics\.recall_siren: recall_siren is the name of two metrics"):
        ConfiguredMetrics(nodes, task())


def test_number_of_classes_follows_from_the_arguments_before_the_data_is_read() -> None:
    for arguments in ({"top_k": 5}, {"num_classes": 50}):
        check_metrics({"mine": {"_target_": "torchmetrics.classification.Accuracy", **arguments}}, multilabel=False)


OWN = """
import torch
from torchmetrics import Metric
class Hits(Metric):
    higher_is_better = True
    def __init__(self, at=1, num_classes=0):
        super().__init__()
        self.at, self.num_classes = at, num_classes
        self.add_state("hits", torch.tensor(0.0), dist_reduce_fx="sum")
    def update(self, preds, target):
        assert preds.shape[1] == self.num_classes
        self.hits += (preds.topk(self.at).indices == target[:, None]).any(dim=1).sum()
    def compute(self):
        return self.hits
class Misses(Hits):
    higher_is_better = False
class Silent(Hits):
    higher_is_better = None
class Words(Hits):
    def compute(self):
        return "many"
class Fragile(Hits):
    def compute(self):
        if self.hits > 7:
            raise ValueError("too many hits")
        return self.hits
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "my_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield trusting("my_metrics")
    sys.modules.pop("my_metrics", None)


def test_metric_of_a_trusted_module(own: Any) -> None:
    with pytest.raises(ConfigError, match="trust=my_metrics"):
        made("my_metrics.Hits")
    logits, target = clips()
    with own:
        found = made("my_metrics.Hits", at=2)
        hits = (logits.topk(2).indices == target[:, None]).any(dim=1).sum()
        assert found.compute(logits.softmax(1), target) == {"mine": hits}
        assert (found.lower_is_better, made("my_metrics.Misses").lower_is_better) == ([], ["mine"])
        assert mode_of("validation/mine", {"mine": {"_target_": "my_metrics.Misses"}}) == "min"
        with pytest.raises(ConfigError, match=r"metrics.mine does not define whether higher is better"):
            mode_of("validation/mine", {"mine": {"_target_": "my_metrics.Silent"}})
        with pytest.raises(ConfigError, match=r"metrics.mine: Words returns 'many'; expected one number"):
            made("my_metrics.Words")
        with pytest.raises(UserError, match=r"metrics.mine: Fragile cannot .*: too many hits \(60 clips\)"):
            made("my_metrics.Fragile").compute(logits.softmax(1), target)


def test_metric_of_this_package_needs_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("audio_lightning.metrics.hits")
    exec(OWN, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    logits, target = clips()
    hits = (logits.argmax(1) == target).sum()
    assert made("audio_lightning.metrics.hits.Hits").compute(logits.softmax(1), target) == {"mine": hits}


def test_metric_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "docs/how-to/extending.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n# my_sounds/metrics.py\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "documented.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    probabilities, target = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]), torch.tensor([0, 1])
    try:
        with trusting("documented"):
            found = made("documented.Margin").compute(probabilities, target)
            assert mode_of("validation/mine", {"mine": {"_target_": "documented.Margin"}}) == "max"
    finally:
        sys.modules.pop("documented", None)
    assert float(found["mine"]) == pytest.approx((0.5 - 0.2) / 2)


def test_choices_combine_and_a_new_class_drops_unknown_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(
        ["metrics=[auroc,cohen_kappa]", "+metrics.mcc._target_=torchmetrics.classification.MatthewsCorrCoef"]
    )
    check_config(config)
    assert list(config.metrics) == ["auroc", "cohen_kappa", "mcc"]
    config = compose(
        ["metrics=recall_at_precision", "metrics.recall_at_precision._target_=torchmetrics.classification.EER"]
    )
    assert "min_precision" not in config.metrics.recall_at_precision
    assert "metrics.recall_at_precision: EER does not take min_precision; left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "monitor", "message"),
    [
        (["metrics=auroc"], "validation/auroc", None),
        (["metrics=auroc", "metrics.auroc.average=none"], "validation/auroc_siren", None),
        (["metrics=default"], "validation/auroc", "this metric is not logged"),
        (["metrics=auroc"], "validation/auroc_siren", "did you mean validation/auroc"),
        (["metrics=auroc"], "train/auroc", "this metric is not logged"),
        (["metrics=auroc"], "validation/aurok", "did you mean validation/auroc"),
    ],
)
def test_monitors(typed: list[str], monitor: str, message: str | None) -> None:
    config = compose([*typed, f"monitor={monitor}"])
    if message is None:
        check_config(config)
        return
    with pytest.raises(ConfigError, match=message):
        check_config(config)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["+metrics.mine._target_=torchmetrics.classification.ROC"], "it returns a curve"),
        (
            ["+metrics.mine._target_=torch.nn.Linear"],
            "metrics.mine._target_=torch.nn.Linear is not allowed; expected a",
        ),
        (["metrics=auroc", "metrics.auroc.average=mean"], "expected macro"),
    ],
)
def test_invalid_metrics_are_rejected_before_audio_is_read(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], message: str
) -> None:
    monkeypatch.setattr(AudioDataModule, "setup", lambda self: pytest.fail("audio was read"))
    with pytest.raises(ConfigError, match=message):
        run(tiny_urbansound8k, tmp_path / "run", *typed)


def test_training_logs_monitors_and_loads_configured_metrics(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    """A metric whose lower values are better selects the epoch, lowers the learning rate and stops the training."""
    choices = ["metrics=[auroc,calibration_error,recall_at_precision]", "monitor=validation/calibration_error"]
    stops = ["callbacks=early_stopping", "scheduler=plateau", "trainer.max_epochs=3", "metrics.auroc.average=none"]
    metrics = run(tiny_urbansound8k, tmp_path / "run", *choices, *stops)
    assert metrics["lower_is_better"] == "calibration_error"
    for part in ("validation", "test"):
        assert 0 <= metrics[f"{part}/auroc_high_tone"] <= 1
        assert 0 <= metrics[f"{part}/recall_at_precision_noise"] <= 1
        assert f"{part}/recall_at_precision_noise_threshold" in metrics
    history = RunFolder(tmp_path / "run").read_history()
    errors = history["validation/calibration_error"]
    assert metrics["chosen_by"] == "validation/calibration_error"
    assert metrics["validation/calibration_error"] == errors.min()
    path = tmp_path / "run/checkpoints/best.ckpt"
    loaded = AudioClassifier.load_from_checkpoint(path)
    assert loaded.configured.names[:2] == ["auroc_high_tone", "auroc_low_tone"]
    state = torch.load(path, weights_only=True)
    assert not [name for name in state["state_dict"] if "metric" in name or "configured" in name]
    state["hyper_parameters"]["config"]["metrics"]["auroc"]["_target_"] = "torch.hub.load"
    torch.save(state, tmp_path / "hostile.ckpt")
    with pytest.raises(CheckpointError, match=r"refused: metrics.auroc._target_=torch.hub.load is not allowed"):
        AudioClassifier.load_from_checkpoint(tmp_path / "hostile.ckpt")


def test_monitor_of_an_unknown_class(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    typed = ["metrics=auroc", "metrics.auroc.average=none", "monitor=validation/auroc_nois"]
    with pytest.raises(ConfigError, match=r"monitor=validation/auroc_nois: .*; did you mean auroc_noise"):
        run(tiny_urbansound8k, tmp_path / "run", *typed)


def test_configurations_without_metrics_load(trained: Path, tmp_path: Path) -> None:
    plain: Any = OmegaConf.to_container(OmegaConf.load(trained / "config.yaml"))
    del plain["metrics"]
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(plain))
    assert RunFolder(tmp_path).read_config(complete=True).metrics == {}
    classifier = AudioClassifier({**plain, "scheduler": {"_target_": None}}, task().to_dict(), [1, 1, 1], 3)
    assert not classifier.configured
