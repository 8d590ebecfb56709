"""Checkpoints are self-contained, and hostile ones are rejected."""

import copy
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from running import resume, run
from torch import nn

from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.provenance import TRAINED_ON
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.load import load_classifier
from audio_lightning.metrics.factory import make_metrics
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.sweeps.trial import peak_memory_mb


def test_it_holds_plain_values_only(trained: Path) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(trained / f"checkpoints/{name}.ckpt", weights_only=True)
        task = checkpoint["hyper_parameters"]["task"]
        assert task["classes"] == ["high_tone", "low_tone", "noise"]
        assert type(checkpoint["hyper_parameters"]["config"]) is dict
        assert checkpoint["audio_lightning"]["format"] == 1
        assert checkpoint["audio_lightning"][TRAINED_ON].shape == (18, 16)
        assert checkpoint["audio_lightning"][TRAINED_ON].dtype == torch.uint8


def test_loads_without_other_files(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "checkpoints/best.ckpt", tmp_path / "alone.ckpt")
    alone = AudioClassifier.load_from_checkpoint(tmp_path / "alone.ckpt")
    assert not alone.training
    waveform = torch.randn(2, alone.task.num_samples)
    torch.testing.assert_close(alone.probabilities(waveform), load_classifier(trained).probabilities(waveform))
    assert alone.embed(waveform).shape == (2, alone.network.embedding_dim)


def test_feature_statistics_travel_with_it(trained: Path) -> None:
    assert load_classifier(trained).front_end.is_fitted


PROOF = Path("/tmp/audio-lightning-checkpoint-ran-code")


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (PROOF.write_text, ("owned",))


def _change(*keys: str, value: Any) -> Callable[[dict[str, Any], Path], None]:
    def write(checkpoint: dict[str, Any], path: Path) -> None:
        node = checkpoint
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
        torch.save(checkpoint, path)

    return write


def _target(group: str, target: Any, **arguments: Any) -> Callable[[dict[str, Any], Path], None]:
    return _change("hyper_parameters", "config", group, value={"_target_": target, **arguments})


HOSTILE: dict[str, tuple[Callable[[dict[str, Any], Path], None], str]] = {
    "a pickled object in place of the weights": (_change("state_dict", value=_Payload()), "refused: it holds Python"),
    "a pickled object among the weights": (_change("state_dict", "x", value=_Payload()), "refused: it holds Python"),
    "a pickled object in the configuration": (
        _change("hyper_parameters", "config", value=_Payload()),
        "refused: it holds Python objects",
    ),
    "a plain pickle": (
        lambda checkpoint, path: path.write_bytes(pickle.dumps(_Payload())) and None,
        "refused|not a checkpoint",
    ),
    "a module in place of a dictionary": (
        lambda checkpoint, path: torch.save(torch.nn.Linear(1, 1), path),
        "refused: it holds Python objects",
    ),
    "a function of the system as the model": (_target("model", "os.system", command="true"), "not allowed"),
    "a builtin as the feature": (_target("feature", "builtins.exec"), "not allowed"),
    "a way through this package to another": (
        _target("feature", "audio_lightning.data.store.cache.shutil.rmtree", path="/nonexistent"),
        "refused: feature._target_",
    ),
    "a function of this package": (
        _target("model", "audio_lightning.core.files.write_text", path=str(PROOF), text="owned"),
        "refused: model._target_",
    ),
    "a class of this package of another kind": (
        _target("model", "audio_lightning.data.sources.demo.source.Demo", root=str(PROOF)),
        "is not a AudioModel",
    ),
    "a target that is no name": (_target("model", ["os", "system"]), "not allowed"),
    "an argument the model does not take": (
        _target(
            "model", "audio_lightning.models.cnn.CNN", channels=[4], hidden_dim=4, dropout=0.0, batch_norm=True, evil=1
        ),
        "has no argument evil",
    ),
    "weights of another network": (_change("state_dict", value={}), "larger than its weights"),
    "weights under other names": (
        lambda checkpoint, path: torch.save(
            {**checkpoint, "state_dict": {f"x.{name}": value for name, value in checkpoint["state_dict"].items()}}, path
        ),
        "does not fit the classifier it describes",
    ),
    "text for what was trained on": (_change("audio_lightning", TRAINED_ON, value="x"), "does not fit the"),
    "weights for what was trained on": (
        _change("audio_lightning", TRAINED_ON, value=torch.zeros(2, 16)),
        "does not fit the",
    ),
    "half a clip that was trained on": (
        _change("audio_lightning", TRAINED_ON, value=torch.zeros(2, 9, dtype=torch.uint8)),
        "does not fit the",
    ),
    "no task": (_change("hyper_parameters", "task", value={}), "does not fit the classifier it describes"),
    "a list for parameters": (_change("hyper_parameters", value=[1]), "does not fit the classifier it describes"),
    "a number for parameters": (_change("hyper_parameters", value=0), "does not fit the classifier it describes"),
    "a later format": (_change("audio_lightning", value={"format": 99, "version": "9.0"}), "has format 99"),
    "another program's": (lambda checkpoint, path: torch.save({"state_dict": {}}, path), "not written by this program"),
    "a tensor": (lambda checkpoint, path: torch.save(torch.zeros(3), path), "not written by this program"),
    "text": (lambda checkpoint, path: path.write_text("hello") and None, "not a checkpoint"),
    "empty": (lambda checkpoint, path: path.write_bytes(b"") and None, "not a checkpoint"),
    "another archive": (
        lambda checkpoint, path: zipfile.ZipFile(path, "w").writestr("a", "b"),
        "not a checkpoint",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_checkpoints_are_rejected_without_execution(
    trained: Path, tmp_path: Path, name: str
) -> None:
    PROOF.unlink(missing_ok=True)
    write, message = HOSTILE[name]
    checkpoint = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    write(copy.deepcopy(checkpoint), tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=message) as caught:
        AudioClassifier.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert str(tmp_path / "evil.ckpt") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not PROOF.exists()


LARGE: dict[str, tuple[tuple[Any, ...], str]] = {
    "a clip of hours": (("task", "num_samples", 300_000_000), "a clip of 300,000,000 samples, expected at most"),
    "a sample rate": (("task", "sample_rate", 10**9), "too high; use at most 1,000,000 Hz"),
    "a million bands": (("config", "feature", "n_mels", 10**6), "n_mels and n_fft: a table of"),
    "a window of an hour": (("config", "feature", "window_seconds", 3600.0), "window_seconds: a table of"),
    "a long transform": (("config", "feature", "n_fft", 2**34), "n_mels and n_fft: a table of"),
    "a hop of a sample": (("config", "feature", "hop_seconds", 1 / 8000), "at once; use shorter clips"),
    "thousands of networks": (("config", "ensemble", "num_members", 3000), "larger than its weights"),
    "a wide layer": (("config", "model", "hidden_dim", 10**9), "larger than its weights"),
    "a published network of a billion weights": (
        ("config", "feature", {"_target_": f"{Embedding.__module__}.Embedding", "backbone": "dasheng_12b"}),
        "larger than its weights",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_configurations_that_exhaust_memory_are_rejected_before_building(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (*keys, last, value), message = LARGE[name]
    checkpoint = read_checkpoint(trained / "checkpoints/best.ckpt")
    if name == "a hop of a sample":
        checkpoint["hyper_parameters"]["task"]["num_samples"] = 2**24
    node = checkpoint["hyper_parameters"]
    for key in keys:
        node = node[key]
    node[last] = value
    write_checkpoint(tmp_path / "large.ckpt", checkpoint)
    monkeypatch.setattr(AudioClassifier, "__init__", lambda *_, **__: pytest.fail("it is built"))
    before = peak_memory_mb()
    with pytest.raises(CheckpointError, match=message):
        AudioClassifier.load_from_checkpoint(tmp_path / "large.ckpt")
    assert peak_memory_mb() - before < 100


def test_thousands_of_classes_allocate_no_confusion_matrix() -> None:
    before = peak_memory_mb()
    make_metrics(AudioTask(tuple(map(str, range(30_000))), 8000, 2000))
    assert peak_memory_mb() - before < 100


def test_the_payload_runs_without_protection(tmp_path: Path) -> None:
    """The attack of these tests is a real one."""
    try:
        pickle.loads(pickle.dumps(_Payload()))
        assert PROOF.read_text() == "owned"
    finally:
        PROOF.unlink(missing_ok=True)


def test_a_truncated_file_is_reported_as_damaged(trained: Path, tmp_path: Path) -> None:
    data = (trained / "checkpoints/best.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_classifier(tmp_path / "half.ckpt")


@pytest.mark.parametrize("what", ["nothing", "empty folder"])
def test_missing_checkpoints_are_reported(tmp_path: Path, what: str) -> None:
    path = tmp_path if what == "empty folder" else tmp_path / "gone.ckpt"
    with pytest.raises(CheckpointError, match=r"no such checkpoint|no checkpoints/best\.ckpt"):
        load_classifier(path)


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta"])
def test_unavailable_devices_are_reported(device: str) -> None:
    """Also the device of tensors without values; before the checkpoint is searched."""
    with pytest.raises(ConfigError, match=rf"--device {device}: not available \(.+\); use cpu"):
        load_classifier(Path("none"), device)


def test_loading_does_not_need_the_initial_weights(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    """Neither to load the checkpoint nor to resume its training."""
    torch.manual_seed(0)
    weights = tmp_path / "squeezenet.pt"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    settings = ["data.sample_rate=8000", "data.clip_seconds=0.25", "data.batch_size=8", "trainer=cpu"]
    begun = [*settings, "model=squeezenet", f"model.pretrained={weights}", "trainer.max_epochs=1"]
    run(tiny_urbansound8k, tmp_path / "run", settings=begun)
    weights.unlink()
    classifier = AudioClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/best.ckpt")
    assert classifier.network.num_classes == 3
    assert resume(tmp_path / "run", "trainer.max_epochs=2")["epochs"] == 2


@pytest.mark.parametrize(
    ("kind", "options", "choices"),
    [
        ("Wav2Vec2", {"conv_dim": [8] * 7}, ["feature=waveform", "model=wav2vec2"]),
        ("Hubert", {"conv_dim": [8] * 7, "feat_proj_layer_norm": False}, ["feature=waveform", "model=wav2vec2"]),
        ("AST", {"num_mel_bins": 32, "max_length": 40}, ["feature=fbank", "feature.n_mels=32", "model=ast"]),
    ],
)
def test_fine_tuned_checkpoints_do_not_need_the_published_weights(
    tiny_urbansound8k: Path, tmp_path: Path, kind: str, options: dict[str, Any], choices: list[str]
) -> None:
    """The checkpoint has the sizes of the network, so that it can be built and its training resumed."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = getattr(transformers, f"{kind}Config")(**sizes, **options)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "weights")
    settings = ["data.sample_rate=8000", "data.clip_seconds=0.25", "data.batch_size=8", "trainer=cpu"]
    begun = [*settings, *choices, f"model.pretrained={tmp_path / 'weights'}"]
    run(tiny_urbansound8k, tmp_path / "run", settings=[*begun, "trainer.max_epochs=1"])
    shutil.rmtree(tmp_path / "weights")

    classifier = AudioClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/best.ckpt")

    assert {layer.out_features for layer in classifier.network.modules() if isinstance(layer, nn.Linear)} >= {16, 24}
    assert classifier(torch.randn(2, 2000)).isfinite().all()
    assert resume(tmp_path / "run", "trainer.max_epochs=2")["epochs"] == 2
