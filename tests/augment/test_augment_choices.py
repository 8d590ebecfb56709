"""Every YAML in conf/augment: it names all arguments of its targets, and works on sound."""

import inspect
import pkgutil
import typing
from typing import Any

import choices
import pytest
import torch
from torch import Tensor

from audio_lightning import augment
from audio_lightning.augment import Augmentation
from audio_lightning.augment.augmentation import KINDS
from audio_lightning.augment.recorded import RecordedAugmentation
from audio_lightning.config import choices as names
from audio_lightning.config import config_dir, resolve
from audio_lightning.core.errors import ConfigError

SAMPLE_RATE = 8000
CLIPS = 16
each = pytest.mark.parametrize("name", names("augment"))
GAIN = {"_target_": "audio_lightning.augment.gain.Gain", "gain_db": [3.0, 3.0], "p": 1.0}
MIXUP = {"_target_": "audio_lightning.augment.mixup.Mixup", "alpha": 1.0, "p": 1.0}
MASKS = {"_target_": "audio_lightning.augment.spec_augment.SpecAugment", "p": 1.0}
NOISE = {"_target_": "audio_lightning.augment.background_noise.BackgroundNoise", "p": 1.0}
ROOM = {"_target_": "audio_lightning.augment.room_response.RoomResponse", "p": 1.0}


def nodes(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (kind, key, node) for kind, entries in choices.load("augment", name).items() for key, node in entries.items()
    ]


def made(**kinds: dict[str, Any]) -> Augmentation:
    return Augmentation(kinds, sample_rate=SAMPLE_RATE)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(CLIPS, SAMPLE_RATE, generator=generator), torch.eye(CLIPS)


def features() -> Tensor:
    return torch.randn(CLIPS, 1, 40, 100, generator=torch.Generator().manual_seed(1))


def properties(augmentation: Augmentation) -> list[bool]:
    return [
        augmentation.changes_waveforms,
        augmentation.changes_features,
        augmentation.mixes_targets,
        bool(augmentation.lacks),
    ]


def with_recordings(augmentation: Augmentation, *sources: str) -> Augmentation:
    for source in sources:
        augmentation.set_recordings(source, torch.randn(20000), torch.tensor([0]), torch.tensor([20000]))
    return augmentation


def test_expected_choices_exist() -> None:
    assert {"none", "light", "strong", "speech", "urban", "instruments"} <= set(names("augment"))


def test_each_augmentation_is_in_a_choice_where_it_can_be_switched_on() -> None:
    chosen = {node["_target_"].split(".")[2] for name in names("augment") for _, _, node in nodes(name)}
    written = {module.name for module in pkgutil.iter_modules(augment.__path__)}
    assert chosen == written - {"augmentation", "base", "noise", "recorded", "spectrum"}


@each
def test_each_entry_names_and_explains_every_option_of_its_target(name: str) -> None:
    assert list(choices.load("augment", name)) == list(KINDS)
    for kind, key, node in nodes(name):
        assert next(iter(node)) == "_target_", key
        cls = resolve(node["_target_"], KINDS[kind], where=f"augment.{kind}.{key}")
        assert {*node, "sample_rate"} == {"_target_", *inspect.signature(cls).parameters}
    for line in (config_dir() / "augment" / f"{name}.yaml").read_text().splitlines():
        if line.startswith("    ") and "_target_" not in line:
            assert " # " in line, line


@each
def test_numbers_that_may_have_a_fraction_are_written_with_one(name: str) -> None:
    for kind, key, node in nodes(name):
        cls = resolve(node["_target_"], KINDS[kind], where=key)
        hints = typing.get_type_hints(cls.__init__)
        for option, value in node.items():
            if "float" in str(hints.get(option)):
                values = value if isinstance(value, list) else [value]
                assert all(isinstance(number, float | None) for number in values), f"{key}.{option}: {value}"


@each
def test_each_choice_works_on_sound_and_by_the_seed(name: str) -> None:
    augmentation = Augmentation(choices.load("augment", name), sample_rate=SAMPLE_RATE)
    assert not with_recordings(augmentation, *augmentation.lacks).lacks

    def run() -> list[Tensor]:
        torch.manual_seed(5)
        waveform, target = augmentation.on_waveforms(*batch())
        return [waveform, *augmentation.on_features(features(), target)]

    waveform, pictures, target = run()

    assert waveform.shape == batch()[0].shape
    assert waveform.isfinite().all()
    assert torch.equal(waveform, batch()[0]) == (not augmentation.changes_waveforms)
    assert torch.equal(pictures, features()) == (not augmentation.changes_features)
    assert torch.equal(target, batch()[1]) == (not augmentation.mixes_targets)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(CLIPS))
    assert all(torch.equal(a, b) for a, b in zip(run(), [waveform, pictures, target]))

    augmentation.eval()
    waveform, pictures, target = run()
    assert torch.equal(waveform, batch()[0])
    assert torch.equal(pictures, features())
    assert torch.equal(target, batch()[1])
    assert not augmentation.state_dict()


@each
def test_single_entry_can_be_disabled_or_removed(name: str) -> None:
    config = choices.load("augment", name)
    off = {kind: {key: {**node, "p": 0.0} for key, node in entries.items()} for kind, entries in config.items()}
    out = {kind: dict.fromkeys(entries) for kind, entries in config.items()}

    for silenced in (Augmentation(off, sample_rate=SAMPLE_RATE), Augmentation(out, sample_rate=SAMPLE_RATE)):
        assert not any(properties(silenced))
        waveform, target = batch()
        assert silenced.on_waveforms(waveform, target) == (waveform, target)


def test_none_changes_nothing_and_speech_needs_noise() -> None:
    none = Augmentation(choices.load("augment", "none"), sample_rate=SAMPLE_RATE)
    assert not any(properties(none))
    assert Augmentation(choices.load("augment", "speech"), sample_rate=SAMPLE_RATE).lacks == ["noise"]


def test_waveforms_are_changed_before_mixing() -> None:
    augmentation = made(waveform={"gain": GAIN}, pairs={"mixup": MIXUP})
    waveform, target = batch()

    mixed, soft = augmentation.on_waveforms(waveform, target)

    torch.testing.assert_close(mixed, soft @ waveform * 10 ** (3 / 20))
    assert augmentation.changes_waveforms
    assert augmentation.mixes_targets
    assert not augmentation.changes_features


def test_features_are_mixed_before_masking() -> None:
    augmentation = made(spectrogram={"masks": MASKS}, pairs={"mixup": {**MIXUP, "domain": "features"}})
    waveform, target = batch()
    assert not augmentation.changes_waveforms
    assert augmentation.changes_features
    assert augmentation.on_waveforms(waveform, target) == (waveform, target)

    x = features()
    pictures, soft = augmentation.on_features(x, target)

    mixed = torch.einsum("ij,j...->i...", soft, x)
    kept = torch.isclose(pictures, mixed, atol=1e-5)
    assert 0.5 < kept.float().mean() < 1
    torch.testing.assert_close(pictures[~kept], mixed.mean((2, 3), keepdim=True).expand_as(x)[~kept])


def test_waveform_features_are_not_masked() -> None:
    augmentation = made(spectrogram={"masks": MASKS})
    x = torch.randn(CLIPS, 1, SAMPLE_RATE)

    assert augmentation.on_features(x, torch.eye(CLIPS))[0] is x


def test_recordings_are_passed_to_all_augmentations_of_a_source() -> None:
    augmentation = made(waveform={"one": NOISE, "gain": GAIN, "two": NOISE, "hall": ROOM, "off": {**ROOM, "p": 0.0}})
    assert augmentation.lacks == ["noise", "rir"]

    assert with_recordings(augmentation, "noise").lacks == ["rir"]
    assert not with_recordings(augmentation, "rir").lacks
    assert all(module.has_recordings for module in augmentation.waveform if isinstance(module, RecordedAugmentation))


def test_optional_recordings_may_be_missing() -> None:
    optional = {**NOISE, "required": False}
    augmentation = made(waveform={"optional": optional, "gain": GAIN, "off": {**NOISE, "p": 0.0}, "hall": ROOM})
    assert augmentation.leave_out("noise")
    assert augmentation.lacks == ["rir"]
    assert not augmentation.leave_out("rir")
    assert not made(waveform={"optional": optional, "required": NOISE}).leave_out("noise")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"waveforms": {}}, "augment.waveforms: no such kind; did you mean waveform"),
        ({"waveform": {"gain": {**GAIN, "db": 3.0}}}, "augment.waveform.gain has no argument db"),
        ({"waveform": {"gain": {**GAIN, "p": 2.0}}}, "p is 2.0, expected a probability from 0 to 1"),
        ({"waveform": {"mixup": MIXUP}}, "augment.waveform.mixup._target_=.* is not a WaveformAugmentation"),
        ({"pairs": {"gain": GAIN}}, "augment.pairs.gain._target_=.* is not a PairAugmentation"),
        ({"waveform": {"x": {"_target_": "os.system"}}}, "is not allowed"),
    ],
    ids=str,
)
def test_configuration_mistakes_are_explained(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(config, sample_rate=SAMPLE_RATE)
