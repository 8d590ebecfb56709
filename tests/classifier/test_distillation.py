"""Knowledge distillation: targets, checks of the teacher, resuming, and the files of the student."""

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf, open_dict
from running import Killed, kill_at, resume, run
from torch import Tensor
from untrained import CNN, SMALL, write_member

from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.distillation import Distillation, check_teacher, distillation
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.classifier.factory import check_networks
from audio_lightning.classifier.teacher import Teacher, load_teacher
from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import CheckpointError, ConfigError, DataError
from audio_lightning.core.files import read_json
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.inference.load import load_classifier
from audio_lightning.report.model_card import model_card
from audio_lightning.run_folder import RunFolder
from audio_lightning.sweeps.identity import canonical_config

PROBABILITIES = torch.tensor([0.7, 0.2, 0.1])
"""Output of the teacher with constant probabilities."""

POLARITY = "+augment.waveform.polarity={_target_:audio_lightning.augment.polarity.Polarity,p:1.0}"
MIXUP = "+augment.pairs.mixup={_target_:audio_lightning.augment.mixup.Mixup,domain:features,alpha:1.0}"
MIXED_WAVEFORMS = "+augment.pairs.mixup={_target_:audio_lightning.augment.mixup.Mixup,alpha:1.0}"


def task(**values: Any) -> AudioTask:
    return AudioTask(**{"classes": tiny.CLASSES, "sample_rate": tiny.RATE, "num_samples": 2000, **values})


def plain(*overrides: str, several: bool = False) -> dict[str, Any]:
    config = compose(quote_paths([*SMALL, *CNN, *overrides]))
    with open_dict(config):
        config.data.label_separator = "|" if several else None
    check_config(config)
    found: Any = OmegaConf.to_container(config, resolve=True)
    return dict(found)


def student(*overrides: str, several: bool = False) -> AudioClassifier:
    torch.manual_seed(1)
    config = plain(*overrides, several=several)
    made = AudioClassifier(config, task(multilabel=several).to_dict(), [4] * 3, 12)
    made.front_end.fit(iter([0.1 * torch.randn(4, 2000)]))
    return made.train()


def constant(path: Path, *, several: bool = False, scale: float = 1.0) -> Teacher:
    """Load a teacher that gives the same probabilities for every clip, up to its calibration."""
    write_member(path, *CNN, multilabel=several)
    checkpoint = torch.load(path, weights_only=True)
    bias = torch.logit(PROBABILITIES) if several else PROBABILITIES.log()
    state = checkpoint["state_dict"]
    name = next(name for name in state if name.startswith("network.head") and name.endswith("bias"))
    state[name].copy_(bias)
    state[name.replace("bias", "weight")].zero_()
    state["calibration.scale"].fill_(scale)
    write_checkpoint(path, checkpoint)
    settings = Distillation(str(path), 0.9)
    return load_teacher(AudioClassifier, settings, task(multilabel=several), plain()["data"], torch.device("cpu"))


def batch(*, several: bool = False, size: int = 6) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    target = torch.arange(size) % 3
    return {
        "waveform": torch.from_numpy(np.stack([tiny.sound(tiny.CLASSES[index], rng) for index in target])),
        "target": (F.one_hot(target, 3) + F.one_hot((target + 1) % 3, 3)).float() if several else target,
        "length": torch.full((size,), 2000),
        "clip": torch.arange(size),
    }


class Recorder:
    """Teacher whose probabilities depend on the clip, and that records the waveforms it gets."""

    def __init__(self, weight: float = 0.9) -> None:
        self.waveforms: list[Tensor] = []
        self.weight = weight

    def given(self, waveform: Tensor) -> Tensor:
        """Probabilities of a waveform."""
        return torch.stack([waveform[:, part::3].sum(dim=1) for part in range(3)], dim=1).softmax(dim=1)

    def targets(self, target: Tensor, waveform: Tensor, clip: Tensor | None = None) -> Tensor:
        """See :meth:`Teacher.targets`."""
        self.waveforms.append(waveform)
        return (1 - self.weight) * target + self.weight * self.given(waveform)


@pytest.mark.parametrize("augment", [[], [POLARITY]])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_targets_are_the_stated_mixture(tmp_path: Path, augment: list[str], several: bool, scale: float) -> None:
    classifier, data = student(*augment, several=several), batch(several=several)
    classifier.teacher = constant(tmp_path / "teacher.ckpt", several=several, scale=scale)
    _, target = classifier._augmented(data)
    labels = data["target"] if several else F.one_hot(data["target"], 3).float()
    if several:
        calibrated = torch.sigmoid(scale * torch.logit(PROBABILITIES))
    else:
        calibrated = PROBABILITIES**scale / (PROBABILITIES**scale).sum()
    torch.testing.assert_close(target, 0.1 * labels + 0.9 * calibrated)
    assert not target.requires_grad


def test_the_loss_of_a_step_is_that_of_the_mixture(tmp_path: Path) -> None:
    data, weights = batch(), torch.tensor([0.5, 2.0, 1.5])
    target = 0.1 * F.one_hot(data["target"], 3) + 0.9 * PROBABILITIES
    classifier = student("loss.label_smoothing=0.2", "loss.class_weights=balanced", f"distill.teacher={tmp_path}")
    logits = torch.randn(6, 3)
    smooth = 0.8 * target + 0.2 / 3
    losses = classifier.loss(logits, target, weights)
    torch.testing.assert_close(losses, -(smooth * weights * logits.log_softmax(1)).sum(1))
    mean = classifier.loss.mean(losses, target, weights)
    torch.testing.assert_close(mean, losses.sum() / (target * weights).sum())
    several = student("loss.class_weights=balanced", f"distill.teacher={tmp_path}", several=True)
    losses = several.loss(logits, target, weights)
    expected = -(target * weights * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits)).mean(1)
    torch.testing.assert_close(losses, expected)


def test_a_step_gives_gradients_to_the_student_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = student()
    classifier.teacher = constant(tmp_path / "teacher.ckpt")
    logits, target = classifier._augmented_logits(batch())
    classifier.loss(logits, target, classifier.class_weights).mean().backward()
    assert all(value.grad is not None for value in classifier.network.parameters())
    teacher = classifier.teacher._classifier
    assert not teacher.training
    assert all(value.grad is None and not value.requires_grad for value in teacher.parameters())


@pytest.mark.parametrize("augment", [POLARITY, MIXED_WAVEFORMS])
def test_the_teacher_gets_the_augmented_waveforms_of_the_student(augment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, teacher, data = student(augment), Recorder(), batch()
    classifier.teacher = teacher  # type: ignore[assignment]
    seen = list[Tensor]()
    compute = classifier.front_end.forward
    monkeypatch.setattr(classifier.front_end, "forward", lambda x: (seen.append(x), compute(x))[1])
    torch.manual_seed(2)
    _, target = classifier._augmented(data)
    assert torch.equal(teacher.waveforms[0], seen[0])
    assert not torch.equal(seen[0], data["waveform"])
    torch.manual_seed(2)
    waveform, mixed = classifier.augmentation.on_waveforms(data["waveform"], F.one_hot(data["target"], 3).float())
    assert torch.equal(waveform, seen[0])
    torch.testing.assert_close(target, 0.1 * mixed + 0.9 * teacher.given(waveform))


def test_mixing_of_features_mixes_the_probabilities_of_the_teacher() -> None:
    classifier, teacher, data = student(MIXUP), Recorder(), batch()
    classifier.teacher = teacher  # type: ignore[assignment]
    torch.manual_seed(3)
    _, target = classifier._augmented(data)
    before = 0.1 * F.one_hot(data["target"], 3) + 0.9 * teacher.given(data["waveform"])
    torch.manual_seed(3)
    _, expected = classifier.augmentation.on_features(classifier.front_end(data["waveform"]), before)
    torch.testing.assert_close(target, expected)
    assert not torch.allclose(target, before)


def test_every_member_of_a_student_gets_targets_for_its_own_augmentation() -> None:
    gain = "+augment.waveform.gain={_target_:audio_lightning.augment.gain.Gain,p:1.0}"
    classifier, teacher = student(gain, "ensemble.num_members=2"), Recorder()
    classifier.teacher = teacher  # type: ignore[assignment]
    logits, target = classifier._augmented_logits(batch())
    assert logits.shape == target.shape == (12, 3)
    one, other = teacher.waveforms
    assert not torch.equal(one, other)
    labels = F.one_hot(batch()["target"], 3)
    torch.testing.assert_close(target, torch.cat([0.1 * labels + 0.9 * teacher.given(part) for part in (one, other)]))


@pytest.mark.parametrize("loss", ["MultiMarginLoss", "SoftMarginLoss"])
def test_losses_of_whole_labels_are_refused(loss: str, tmp_path: Path) -> None:
    lines = [f"loss._target_=torch.nn.{loss}", f"distill.teacher={tmp_path / 'none'}"]
    with pytest.raises(ConfigError, match=r"takes whole labels, and distill\.teacher gives a probability"):
        check_networks(plain(*lines), task())
    with pytest.raises(ConfigError, match=r"takes whole labels, and distill\.teacher gives a probability"):
        student(*lines)


# The file of the teacher


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"sample_rate": 4000, "num_samples": 1000}, "data.sample_rate: 4000 for the teacher, and 8000 in this"),
        ({"num_samples": 4000}, r"data.clip_seconds: 0.5 \(4000 samples\) .* set data.clip_seconds=0.5, or"),
        ({"padding": "repeat"}, "data.padding: repeat for the teacher, and zero .* set data.padding=repeat, or"),
    ],
)
def test_a_teacher_of_other_clips_is_refused_before_recordings_are_read(
    teacher: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = write_member(tmp_path / "teacher.ckpt", *CNN, **teacher)
    with pytest.raises(ConfigError, match=said):
        check_networks(plain(f"distill.teacher={path}"), task())


def test_a_teacher_of_another_channel_is_refused(tmp_path: Path) -> None:
    path = write_member(tmp_path / "teacher.ckpt", *CNN, "data.channel=left")
    with pytest.raises(ConfigError, match=r"data\.channel: left for the teacher, and mean .* set data\.chan"):
        check_teacher(plain(f"distill.teacher={path}"), task())


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (
            {"classes": tiny.CLASSES[::-1]},
            "classes: noise, low_tone, high_tone for the teacher, and high_tone, low_ton",
        ),
        ({"multilabel": True}, "number of labels of a clip: several for the teacher, and one in this training"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(teacher: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write_member(tmp_path / "teacher.ckpt", *CNN, **teacher)
    config = plain(f"distill.teacher={path}")
    check_teacher(config, task(classes=("a", "b")))  # the classes are not known yet
    settings = distillation(config)
    assert settings is not None
    with pytest.raises(ConfigError, match=said):
        load_teacher(AudioClassifier, settings, task(), config["data"], torch.device("cpu"))


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distill.teacher=\S*gone is not a trained classifier \(.*no such"):
        check_networks(plain(f"distill.teacher={tmp_path / 'gone'}"), task())
    with pytest.raises(ConfigError, match="hf://owner/name: download the model first"):
        check_teacher(plain("distill.teacher=hf://owner/name"), task())


@pytest.mark.parametrize("value", ["-0.1", "1.1", "much", "true", "null"])
def test_an_invalid_weight_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"distill.weight=\S+: expected a number, (0 to 1|the default)"):
        plain(f"distill.weight={value}")


@pytest.mark.parametrize("node", [3, {"teacher": 3, "weight": 0.5}, {"teacher": "x", "weight": "y"}, {"teacher": "x"}])
def test_a_damaged_node_of_a_checkpoint_is_refused(node: Any) -> None:
    with pytest.raises(ConfigError, match=r"^distill"):
        distillation({"distill": node})


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return open, (_Payload.file, "w")  # type: ignore[return-value]

    file = ""


def test_a_hostile_teacher_executes_nothing(tmp_path: Path) -> None:
    _Payload.file = str(tmp_path / "executed")
    path = write_member(tmp_path / "teacher.ckpt", *CNN)
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "extra": _Payload()}, path)
    config = plain(f"distill.teacher={path}")
    with pytest.raises(CheckpointError):
        check_networks(config, task())
    settings = distillation(config)
    assert settings is not None
    with pytest.raises(CheckpointError):
        load_teacher(AudioClassifier, settings, task(), config["data"], torch.device("cpu"))
    named = torch.load(write_member(path, *CNN), weights_only=True)
    named["hyper_parameters"]["config"]["model"]["_target_"] = "os.system"
    write_checkpoint(path, named)
    with pytest.raises(CheckpointError, match=r"os\.system"):
        load_teacher(AudioClassifier, settings, task(), config["data"], torch.device("cpu"))
    assert not (tmp_path / "executed").exists()
    _Payload.file = str(tmp_path / "control")
    pickle.loads(pickle.dumps(_Payload())).close()
    assert (tmp_path / "control").exists(), "the payload would have executed"


def test_loading_a_teacher_consumes_no_random_numbers(tmp_path: Path) -> None:
    path = write_member(tmp_path / "teacher.ckpt", *CNN)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    load_teacher(AudioClassifier, Distillation(str(path), 0.9), task(), plain()["data"], torch.device("cpu"))
    assert torch.equal(torch.rand(2), expected)


def test_an_ensemble_can_be_the_teacher(tmp_path: Path) -> None:
    members = [write_member(tmp_path / f"{seed}.ckpt", *CNN, seed=seed) for seed in (1, 2)]
    folder = tmp_path / "fit"
    folder.mkdir()
    (folder / "state.json").touch()
    write_ensemble(folder / "model.ckpt", members, [1.0, 3.0])
    settings = Distillation(str(folder), 1.0)
    check_teacher(plain(f"distill.teacher={folder}"), task())
    teacher = load_teacher(AudioClassifier, settings, task(), plain()["data"], torch.device("cpu"))
    one, other = (load_classifier(path).probabilities(batch()["waveform"]) for path in members)
    found = teacher.targets(torch.zeros(6, 3), batch()["waveform"])
    torch.testing.assert_close(found, 0.25 * one + 0.75 * other)
    assert str(teacher) == f"teacher: 2 x CNN of {folder}, 1 of every target"
    assert settings.name == "fit"


def test_the_content_of_the_teacher_is_part_of_the_identity_of_a_trial(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        RunFolder(tmp_path / name).best.parent.mkdir(parents=True)
        write_member(RunFolder(tmp_path / name).best, *CNN, seed=seed)
    (tmp_path / "b/MODEL_CARD.md").write_text("another file of the run")
    one, same, other = (canonical_config(plain(f"distill.teacher={tmp_path / name}")) for name in "abc")
    assert one == same != other
    assert canonical_config(plain("distill.weight=0.5")) == canonical_config(plain()), "without a teacher, no effect"
    assert canonical_config(plain(f"distill.teacher={tmp_path / 'a'}", "distill.weight=0.5")) != one
    old = plain()
    del old["distill"]
    assert canonical_config(old) == canonical_config(plain())


# Trainings


@pytest.fixture(scope="module")
def teacher(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a run that is not trained on folds 3 and 4, which are for validation and test. Read only."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        run(tiny_urbansound8k, folder, *SPLIT, "seed=5", "trainer.max_epochs=2", "plots=false")
    return folder


SPLIT = ["data.test_fold=4", "data.validation_fold=3"]
SHORT = [*SPLIT, "trainer.max_epochs=2", "plots=false"]


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = read_checkpoint(RunFolder(folder).last)["state_dict"]
    return found


def test_a_training_with_a_teacher_has_other_weights_under_the_same_names(
    tiny_urbansound8k: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plainly = run(tiny_urbansound8k, tmp_path / "plain", *SHORT)
    without = ["distill.weight=0.0", f"distill.teacher={teacher}"]
    run(tiny_urbansound8k, tmp_path / "zero", *SHORT, *without)
    capsys.readouterr()
    metrics = run(tiny_urbansound8k, tmp_path / "taught", *SHORT, f"distill.teacher={teacher}")
    assert f"teacher: CNN of {teacher}, 0.9 of every target" in capsys.readouterr().out
    own, zero, taught = (weights(tmp_path / name) for name in ("plain", "zero", "taught"))
    assert own.keys() == zero.keys() == taught.keys()
    assert all(torch.equal(own[name], zero[name]) for name in own)
    assert not all(torch.equal(own[name], taught[name]) for name in own)
    assert metrics["leakage"] == plainly["leakage"]
    assert metrics["parameters"] == plainly["parameters"]
    card = model_card(RunFolder(tmp_path / "taught").best)
    assert "* Distillation: the probabilities of the classifier teacher are 0.9 of every target" in card
    assert "Distillation" not in model_card(RunFolder(tmp_path / "zero").best)
    assert str(teacher.parent) not in card


def test_unchanged_clips_are_given_to_the_teacher_once(
    tiny_urbansound8k: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = list[int]()
    compute = Teacher.probabilities

    def probabilities(self: Teacher, waveform: Tensor) -> Tensor:
        clips.append(len(waveform))
        return compute(self, waveform)

    monkeypatch.setattr(Teacher, "probabilities", probabilities)
    run(tiny_urbansound8k, tmp_path / "once", *SHORT, f"distill.teacher={teacher}")
    assert sum(clips) == 18
    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "memorize", lambda self, datamodule: None)
        run(tiny_urbansound8k, tmp_path / "always", *SHORT, f"distill.teacher={teacher}")
    assert sum(clips) == 18 + 2 * 18
    one, other = weights(tmp_path / "once"), weights(tmp_path / "always")
    for name, value in one.items():
        torch.testing.assert_close(value, other[name])


def test_a_teacher_that_knows_the_test_clips_is_refused(
    tiny_urbansound8k: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["data.test_fold=2", "data.validation_fold=3", "trainer.max_epochs=1", "plots=false"]
    lines += [f"distill.teacher={teacher}"]
    with pytest.raises(DataError, match="was trained on 9 of 9 test clips of this run") as caught:
        run(tiny_urbansound8k, tmp_path / "leak", *lines)
    assert "data.split=train_only data.validation_fraction=0.0" in str(caught.value)
    both = [lines[0], "data.validation_fold=1", *lines[2:]]
    with pytest.raises(DataError, match="was trained on 9 of 9 validation clips and 9 of 9 test clips"):
        run(tiny_urbansound8k, tmp_path / "both", *both)
    capsys.readouterr()
    metrics = run(tiny_urbansound8k, tmp_path / "allowed", *lines, "data.allow_leakage=true")
    assert "was trained on 9 of 9 test clips: the metrics do not hold" in capsys.readouterr().out
    assert metrics["leakage"] == read_json(tmp_path / "allowed/metrics.json")["leakage"] == "present"
    run(tiny_urbansound8k, tmp_path / "use", "data.split=train_only", "data.validation_fraction=0.0", *lines[2:])
    found = evaluate(tmp_path / "allowed")
    assert found.metrics["num_train_overlap"] == 9, "the student knows what its teacher was trained on"


def test_a_teacher_without_a_record_of_its_data_gives_a_note(
    tiny_urbansound8k: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = read_checkpoint(RunFolder(teacher).best)
    del checkpoint["audio_lightning"]["trained_segments"]
    write_checkpoint(tmp_path / "old.ckpt", checkpoint)
    run(tiny_urbansound8k, tmp_path / "run", *SHORT, f"distill.teacher={tmp_path / 'old.ckpt'}")
    assert (
        "does not record its training data, so leakage into validation and test is unknown" in capsys.readouterr().out
    )


@pytest.mark.parametrize("augment", ["none", "light"])
def test_a_resumed_training_equals_an_uninterrupted_one(
    tiny_urbansound8k: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augment: str
) -> None:
    moved = shutil.copytree(teacher, tmp_path / "teacher")
    lines = [*SPLIT, "trainer.max_epochs=3", "plots=false", f"augment={augment}", f"distill.teacher={moved}"]
    run(tiny_urbansound8k, tmp_path / "whole", *lines)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *lines)
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"distill.teacher=\S*teacher is not a trained classifier \(.*no such"):
        resume(tmp_path / "killed")
    with pytest.raises(ConfigError, match=r"another teacher than that of the run to resume \(none, expected SHA-256 "):
        resume(tmp_path / "killed", "distill.teacher=null")
    other = write_other(RunFolder(teacher).best, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match=r"another teacher than that of the run to resume \(SHA-256 "):
        resume(tmp_path / "killed", f"distill.teacher={other}")
    resume(tmp_path / "killed", f"distill.teacher='{tmp_path / 'elsewhere'}'")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def write_other(path: Path, to: Path) -> Path:
    """Write the checkpoint with other weights."""
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["calibration.scale"] *= 2
    write_checkpoint(to, checkpoint)
    return to


def test_a_student_predicts_and_is_tested_without_its_teacher(
    tiny_urbansound8k: Path, teacher: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(teacher, tmp_path / "teacher")
    metrics = run(tiny_urbansound8k, tmp_path / "student", *SHORT, f"distill.teacher={copy}")
    shutil.rmtree(copy)
    classifier = load_classifier(tmp_path / "student")
    assert isinstance(classifier, AudioClassifier)
    assert classifier.teacher is None
    assert classifier.probabilities(batch()["waveform"]).shape == (6, 3)
    assert evaluate(tmp_path / "student").metrics["test/accuracy"] == metrics["test/accuracy"]


@pytest.mark.parametrize("callbacks", ["ema", "swa"])
def test_weights_are_averaged_without_the_teacher(
    callbacks: str, tiny_urbansound8k: Path, teacher: Path, tmp_path: Path
) -> None:
    run(tiny_urbansound8k, tmp_path / "run", *SHORT, f"callbacks={callbacks}", f"distill.teacher={teacher}")
    assert load_classifier(tmp_path / "run").probabilities(batch()["waveform"]).isfinite().all()


def test_views_are_left_out_with_a_teacher(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [*SPLIT, "plots=false", "trainer.max_epochs=1"]
    run(tiny_urbansound8k, tmp_path / "teacher", *lines, settings=tiny.FROZEN_OVERRIDES)
    lines += ["augment=shift", "augment.waveform.shift.p=1", "feature.views=2"]
    taught = f"distill.teacher={tmp_path / 'teacher'}"
    run(tiny_urbansound8k, tmp_path / "student", *lines, taught, settings=tiny.FROZEN_OVERRIDES)
    assert "note: feature.views=2 is not used: the teacher needs the waveforms" in capsys.readouterr().out
