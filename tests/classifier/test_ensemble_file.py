"""Ensemble files: format, compatible members, refusal of others."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from untrained import CNN, LSTM, write_member

from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.core.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkpoints of one task. Read only."""
    folder = tmp_path_factory.mktemp("members")
    return [write_member(folder / "cnn.ckpt", *CNN), write_member(folder / "lstm.ckpt", *LSTM)]


@pytest.fixture(scope="module")
def ensemble(members: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both in one file. Read only."""
    path = tmp_path_factory.mktemp("ensemble") / "model.ckpt"
    write_ensemble(path, members, [3.0, 1.0], notes={"names": ["cnn", "lstm"]})
    return path


def test_it_holds_plain_values_and_no_state_of_a_training(ensemble: Path) -> None:
    contents = torch.load(ensemble, weights_only=True)
    assert set(contents) == {
        "audio_lightning",
        "members",
        "weights",
        "thresholds",
        "calibration",
        "validated",
        "sounding_seconds",
    }
    assert contents["audio_lightning"]["ensemble_format"] == 1
    assert contents["audio_lightning"]["notes"] == {"names": ["cnn", "lstm"]}
    assert contents["weights"] == [0.75, 0.25]
    assert [set(member) for member in contents["members"]] == [
        {"hyper_parameters", "state_dict", "audio_lightning"}
    ] * 2


def test_a_failed_write_leaves_the_old_file(members: list[Path], ensemble: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(ensemble.read_bytes())
    with pytest.raises(CheckpointError, match="not written"):
        write_ensemble(path, members, [1, 1], notes={"path": tmp_path})
    assert path.read_bytes() == ensemble.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("overrides", "task", "message"),
    [
        ([], {"classes": ("a", "b", "c")}, "same classes: high_tone, low_tone, noise in .*, a, b, c in"),
        ([], {"classes": ("low_tone", "high_tone", "noise")}, "same classes"),
        ([], {"multilabel": True}, "same number of labels of a clip: one in .*, several in"),
        ([], {"sample_rate": 16000}, "same data.sample_rate: 8000 in .*, 16000 in"),
        (
            [],
            {"num_samples": 2001},
            r"same data.clip_seconds: 0\.25 \(2000 samples\) in .*, 0\.250125 \(2001 samples\)",
        ),
        ([], {"padding": "repeat"}, "same data.padding: zero in .*, repeat in"),
        (["data.hop_seconds=0.1"], {}, r"same data.hop_seconds: None in .*, 0\.1 in"),
        (["data.channel=left"], {}, "same data.channel: mean in .*, left in"),
    ],
)
def test_members_that_do_not_fit_are_refused(
    members: list[Path], tmp_path: Path, overrides: list[str], task: dict[str, Any], message: str
) -> None:
    other = write_member(tmp_path / "other.ckpt", *CNN, *overrides, **task)
    with pytest.raises(ConfigError, match=message) as caught:
        write_ensemble(tmp_path / "model.ckpt", [*members, other], [1, 1, 1])
    assert "\n" not in str(caught.value)
    assert "other.ckpt; leave one of them out" in str(caught.value)
    assert not (tmp_path / "model.ckpt").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "2 members cannot have 1 weights; give one for each member"),
        ([1.0, 0.0], "weight 0.0: expected a number from 1e-6"),
        ([1.0, -1.0], "weight -1.0"),
        ([1.0, float("nan")], "weight nan"),
        ([1.0, float("inf")], "weight inf"),
        ([1.0, True], "weight True"),
    ],
)
def test_invalid_weights_are_refused(members: list[Path], tmp_path: Path, weights: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_ensemble(tmp_path / "model.ckpt", members, weights)


def test_an_ensemble_without_members_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot have 0 members; give 1 to 256"):
        write_ensemble(tmp_path / "model.ckpt", [], [])


@pytest.mark.parametrize(
    ("multilabel", "thresholds", "message"),
    [
        (False, [0.5, 0.5, 0.5], "these have one"),
        (True, [0.5, 0.5], "give 3 numbers"),
        (True, [0.5, 0.5, 1.5], "give 3 numbers"),
        (True, [0.5, 0.5, float("nan")], "give 3 numbers"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(
    tmp_path: Path, multilabel: bool, thresholds: list[float], message: str
) -> None:
    member = write_member(tmp_path / "cnn.ckpt", *CNN, multilabel=multilabel)
    with pytest.raises(ConfigError, match=message):
        write_ensemble(tmp_path / "model.ckpt", [member], [1], thresholds=thresholds)


@pytest.mark.parametrize("what", ["an ensemble", "nothing", "half a file", "another program's"])
def test_a_member_that_is_no_checkpoint_is_refused(
    members: list[Path], ensemble: Path, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "member.ckpt"
    if what == "an ensemble":
        path.write_bytes(ensemble.read_bytes())
    elif what == "half a file":
        path.write_bytes(members[0].read_bytes()[:2000])
    elif what == "another program's":
        torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match=r"member\.ckpt"):
        write_ensemble(tmp_path / "model.ckpt", [members[0], path], [1, 1])


def test_a_training_cannot_resume_from_an_ensemble(ensemble: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is an ensemble of checkpoints.*; give one of the checkpoints"):
        read_checkpoint(ensemble)


Contents = dict[str, Any]


def _put(*keys: Any, value: Any) -> Callable[[Contents], None]:
    def change(contents: Contents) -> None:
        node: Any = contents
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


def _repeat_a_member(contents: Contents) -> None:
    contents["members"] = [contents["members"][0]] * 2


def _nest(contents: Contents) -> None:
    contents["members"][1] = {**contents, "members": [contents["members"][0]]}


def _without_numbers(contents: Contents) -> None:
    contents["members"][1]["state_dict"]["network.head.weight"].fill_(float("nan"))


PARAMETERS = ("members", 1, "hyper_parameters")
HOSTILE: dict[str, tuple[Callable[[Contents], None], str]] = {
    "a later format": (_put("audio_lightning", "ensemble_format", value=2), "has format 2 of ensembles"),
    "a format that is no number": (_put("audio_lightning", "ensemble_format", value=[{}]), r"has format \[\{\}\]"),
    "no members": (_put("members", value=[]), "cannot have 0 members; give 1 to 256"),
    "members in a dictionary": (_put("members", value={}), "expected lists of members and weights"),
    "a member that is text": (_put("members", 1, value="x"), "member 2 was not written by this program"),
    "an ensemble in an ensemble": (_nest, "member 2 was not written by this program"),
    "a thousand members": (_put("members", value=[{}] * 1000), "cannot have 1000 members; give 1 to 256"),
    "members that share their weights": (_repeat_a_member, "refused: its members share their weights"),
    "too few weights": (_put("weights", value=[1.0]), "cannot have 1 weights; give one for each member"),
    "a weight that is no number": (_put("weights", 0, value=float("nan")), "weight nan"),
    "a weight that is text": (_put("weights", 0, value="x"), "weight x"),
    "weights in a tensor": (_put("weights", value=torch.ones(2)), "expected lists of members and weights"),
    "thresholds for one label": (_put("thresholds", value=torch.ones(3)), "these have one"),
    "thresholds that are text": (_put("thresholds", value="x"), "expected thresholds of type float32"),
    "notes that are text": (_put("audio_lightning", "notes", value="x"), "expected lists of members and weights"),
    "a later member": (_put("members", 1, "audio_lightning", value={"format": 99}), "member 2 has format 99"),
    "a function as the model": (
        _put(*PARAMETERS, "config", "model", value={"_target_": "os.system", "command": "true"}),
        "member 2: refused: .*not allowed",
    ),
    "an interpolation": (_put(*PARAMETERS, "config", "monitor", value="${oc.env:HOME}"), "member 2: .*is refused"),
    "a clip of hours": (_put(*PARAMETERS, "task", "num_samples", value=300_000_000), "a clip of 300,000,000 samples"),
    "a wide layer": (_put(*PARAMETERS, "config", "model", "hidden_dim", value=10**7), "larger than its weights"),
    "no weights": (_put("members", 1, "state_dict", value={}), "larger than its weights"),
    "weights that are a list": (_put("members", 1, "state_dict", value=[1]), "member 2 does not fit the classifier"),
    "no data in the configuration": (_put(*PARAMETERS, "config", "data", value=3), "refused: "),
    "other classes": (
        _put("members", 1, "hyper_parameters", "task", "padding", value="repeat"),
        "need the same data.pad",
    ),
    "weights that are NaN": (_without_numbers, "member 2: network.head.weight holds NaN"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_damaged_one_is_refused(ensemble: Path, tmp_path: Path, name: str) -> None:
    change, message = HOSTILE[name]
    contents = copy.deepcopy(torch.load(ensemble, weights_only=True))
    change(contents)
    write_checkpoint(tmp_path / "evil.ckpt", contents)
    with pytest.raises(CheckpointError, match=message) as caught:
        AudioClassifier.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert str(tmp_path / "evil.ckpt") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damage_is_found(ensemble: Path, tmp_path: Path, damage: str) -> None:
    content = bytearray(ensemble.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.ckpt").write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"x\.ckpt is not a checkpoint, or is damaged"):
        AudioClassifier.load_from_checkpoint(tmp_path / "x.ckpt")
