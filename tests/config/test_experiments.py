"""Recipes: each is valid, matches its described system, and runs."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_sources
from choices import with_usual_values
from omegaconf import OmegaConf

from audio_lightning.classifier.factory import build_front_end, build_network, check_networks
from audio_lightning.config import check_config, choices, compose, quote_paths
from audio_lightning.config.location import choice_file
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.features.stft import PowerSpectrogram
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.run import train

SYSTEMS = {
    "speech12_conv1d": (12, 34_681_196),
    "speech12_conv1d_skip": (12, 63_611_244),
    "speech12_spectrogram_1d": (12, 68_956_524),
    "speech12_spectrogram_2d": (12, 20_847_212),
    "speech10_conv1d_sgd": (10, 1_611_498),
    "instruments_cnn_mfcc": (14, 6_674_670),
    "instruments_resnet_mel": (14, 11_177_422),
    "instruments_resnet_mfcc": (14, 11_177_422),
    "instruments_lstm_mfcc": (14, 21_806),
    "urbansound8k_resnet": (10, 11_175_370),
}
"""Classes and trainable parameters of the systems of the recipes."""

HEARD = {
    "urbansound_dnn": (44100, (1, 176_400)),
    "urbansound_cnn": (22050, (1, 513, 401)),
    "speech12_conv1d": (8000, (1, 8000)),
    "speech12_conv1d_skip": (8000, (1, 8000)),
    "speech12_spectrogram_1d": (8000, (1, 16_380)),
    "speech12_spectrogram_2d": (8000, (1, 130, 126)),
    "speech10_conv1d_sgd": (8000, (1, 8000)),
    **{f"instruments_{name}_mel": (44100, (1, 128, 44)) for name in ("cnn", "cnn_deep", "resnet", "lstm", "crnn")},
    **{f"instruments_{name}_mfcc": (12000, (1, 13, 49)) for name in ("cnn", "cnn_deep", "resnet", "lstm", "crnn")},
    "ast": (16000, (1, 128, 128)),
    "wav2vec2": (16000, (1, 16000)),
}
"""Sample rate in hertz and shape of the features of the described systems."""

TRAINED = {
    "instruments_": {
        "optimizer._target_": "torch.optim.Adam", "optimizer.lr": 0.01, "scheduler._target_": None,
        "data.batch_size": 16, "data.sampling": "balanced", "data.split": "grouped",
    },
    "speech12_": {"data.task": 12, "callbacks.early_stopping.patience": 10},
    "speech10_": {
        "optimizer._target_": "torch.optim.SGD", "scheduler._target_": None, "monitor": "validation/accuracy",
        "callbacks.early_stopping.patience": 10, "callbacks.early_stopping.min_delta": 1e-5,
    },
    "urbansound_": {"data.split": "stratified", "data.test_fraction": 0.2, "model.dropout": 0.0},
    "urbansound8k_": {"data.split": "folds"},
    "wav2vec2": {
        "optimizer.lr": 3e-5, "scheduler.warmup_ratio": 0.1, "trainer.max_epochs": 5, "data.batch_size": 128,
        "model.freeze_convolutions": True,
    },
    "ast": {
        "optimizer.lr": 2.5e-4, "scheduler.whole_epochs": 5, "scheduler.gamma": 0.85, "trainer.max_epochs": 30,
        "data.batch_size": 128, "augment.pairs.mixup.p": 0.6, "augment.spectrogram.specaugment.time_mask_param": 48,
        "augment.spectrogram.specaugment.freq_mask_param": 48,
    },
}  # fmt: skip
"""Training of the described systems, by prefixes of recipe names."""

QUICK = (
    "auto",
    "best_instruments",
    "best_speech",
    "best_urbansound",
    "instruments_lstm_mfcc",
    "sincnet",
    "urbansound8k_squeezenet",
)
"""Recipes trained in the fast suite, at least one per family; `make test-all` trains all of them."""

WITHOUT_DATA = ("auto", "best", "fast", "finetuned", "frozen", "good")


def recipe(name: str, *overrides: str):
    own = ["data=folder"] if name in WITHOUT_DATA else []
    config = compose(quote_paths([f"experiment={name}", *own, *overrides]))
    return with_usual_values(config)


def task_of(config, classes: int) -> AudioTask:
    data = config.data
    names = tuple(f"class {number}" for number in range(classes))
    return AudioTask(names, data.sample_rate, round(data.clip_seconds * data.sample_rate), data.padding)


@pytest.mark.parametrize("name", choices("experiment"))
def test_a_recipe_fits_together(name: str) -> None:
    config = recipe(name, "data.root=.")
    check_config(config)
    check_networks(config, task_of(config, 5))


@pytest.mark.parametrize(("name", "classes", "parameters"), [(name, *facts) for name, facts in SYSTEMS.items()])
def test_recipe_matches_its_described_system(name: str, classes: int, parameters: int) -> None:
    import torch

    config = OmegaConf.to_container(recipe(name, "data.root=."), resolve=True)
    task = task_of(OmegaConf.create(config), classes)
    with torch.device("meta"):
        network = build_network(config, build_front_end(config, task).output_shape, task)
    assert sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad) == parameters


@pytest.mark.parametrize("name", HEARD)
def test_recipe_has_the_features_of_its_system(name: str) -> None:
    config = recipe(name, "data.root=.")
    shape = build_front_end(OmegaConf.to_container(config, resolve=True), task_of(config, 2)).output_shape
    assert (config.data.sample_rate, shape.dims) == HEARD[name]


def test_instruments_at_16_khz_have_80_bands_and_41_frames() -> None:
    small = ["data.sample_rate=16000", "feature.n_mels=80", "feature.n_fft=1024", "feature.window_seconds=0.064"]
    config = recipe("instruments_cnn_deep_mel", "data.root=.", *small, "feature.hop_seconds=0.0125")
    shape = build_front_end(OmegaConf.to_container(config, resolve=True), task_of(config, 2)).output_shape
    assert shape.dims == (1, 80, 41)


@pytest.mark.parametrize("name", [name for name in choices("experiment") if name.startswith(tuple(TRAINED))])
def test_a_recipe_trains_as_its_system_was_trained(name: str) -> None:
    config = recipe(name, "data.root=.")
    for beginning, described in TRAINED.items():
        if name.startswith(beginning):
            assert {key: OmegaConf.select(config, key) for key in described} == described


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in choices("experiment")],
)
def test_a_recipe_runs(name: str, tmp_path: Path) -> None:
    source = str(recipe(name, "data.root=.").data._target_).rpartition(".")[2].lower()
    (data,) = [choice for choice in tiny_sources.WRITERS if choice.replace("_", "") == source]
    root = tiny_sources.write(data, tmp_path / "data")
    config = recipe(name, f"data.root={root}", "debug=tiny", "trainer=cpu")
    check_config(config)
    assert (config.data.batch_size, config.trainer.limit_train_batches) == (2, 1)
    assert train(config, RunFolder(tmp_path / "run"))["epochs"] == 1


@pytest.mark.parametrize("name", choices("debug"))
def test_debugging_is_short(name: str) -> None:
    config = compose([f"debug={name}"])
    assert config.trainer.max_epochs <= 3 or config.trainer.overfit_batches == 1
    assert compose([f"debug={name}", "trainer.max_epochs=7"]).trainer.max_epochs == 7


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in choices("experiment")]
)
def test_debug_overfit_disables_augmentation_and_smoothing(name: str) -> None:
    config = recipe(name, "data.root=.", "debug=overfit")
    check_config(config)
    assert config.scheduler._target_ is None
    assert not config.augment.waveform
    assert not config.augment.spectrogram
    assert not config.augment.pairs
    assert config.callbacks.early_stopping is None
    assert config.loss.label_smoothing == 0


@pytest.mark.parametrize(("model", "epochs"), [("cnn", 40), pytest.param("resnet", 12, marks=pytest.mark.full)])
def test_overfits_one_batch(model: str, epochs: int, tmp_path: Path) -> None:
    """Random labels, so that only a repeated batch can be learned."""
    root = tiny.write_table(tmp_path / "data", clips=40)
    table = root / "clips.csv"
    header, *rows = table.read_text().splitlines()
    paths = [row.partition(",")[0] for row in rows]
    labels = np.random.default_rng(0).choice(["a", "b", "c"], len(rows))
    table.write_text("\n".join([header, *(f"{path},{label}" for path, label in zip(paths, labels))]))
    sizes = {"cnn": tiny.TRAIN_OVERRIDES, "resnet": [line for line in tiny.TRAIN_OVERRIDES if "model" not in line]}
    overrides = ["data=table", f"data.root={root}", "data.table=clips.csv", f"model={model}", *sizes[model]]
    config = compose(
        quote_paths([*overrides, "debug=overfit", f"trainer.max_epochs={epochs}", "callbacks=early_stopping"])
    )
    check_config(config)

    metrics = train(config, RunFolder(tmp_path / "run"))

    assert metrics["train/accuracy"] == 1.0
    assert metrics["num_clips/train"] == 120 > 10 * config.data.batch_size


def test_command_line_overrides_the_recipe() -> None:
    config = recipe("instruments_lstm_mfcc", "data.root=.", "model=cnn", "optimizer.lr=0.5", "feature=logmel")
    assert (config.model._target_, config.optimizer.lr) == ("audio_lightning.models.cnn.CNN", 0.5)
    assert config.data.batch_size == 16


@pytest.mark.parametrize("name", ["_instruments", "_instruments_mel", "_speech12", "_urbansound8k"])
def test_shared_parts_of_recipes_are_not_choices(name: str) -> None:
    assert choice_file("experiment", name).is_file()
    assert name not in choices("experiment")
    with pytest.raises(ConfigError, match=f"experiment={name}: there is no such experiment"):
        compose([f"experiment={name}"])


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize(("window", "hop"), [(258, 64), (2048, 512), (2047, 511)])
def test_a_window_may_be_given_in_samples(rate: int, window: int, hop: int) -> None:
    typed = [f"feature.window_seconds=${{samples:{window}}}", f"feature.hop_seconds=${{samples:{hop}}}"]
    config = compose(["feature=spectrogram", f"data.sample_rate={rate}", "data.clip_seconds=1.0", *typed])
    check_config(config)
    front_end = build_front_end(OmegaConf.to_container(config, resolve=True), task_of(config, 2))
    power = front_end.power
    assert isinstance(power, PowerSpectrogram)
    assert (power.window.numel(), power.hop_length) == (window, hop)


def test_invalid_number_of_samples_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^feature\.window_seconds: [^\n]+$"):
        check_config(compose(["feature.window_seconds=${samples:many}"]))


def test_a_linear_classifier_on_a_published_network_is_linear() -> None:
    assert "hidden_dims" not in recipe("frozen", "model=linear", "data.root=.").model
    assert recipe("frozen", "data.root=.").model.hidden_dims == [256]
