"""The user's own models, front ends and YAML files, and the trust that they need."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import foreign
import pytest
import tiny
import torch
from foreign import LINE, outside, searched  # noqa: F401 - a fixture
from running import train
from typer.testing import CliRunner

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import check_networks
from audio_lightning.cli.main import app
from audio_lightning.cli.sweep import main as sweep
from audio_lightning.cli.train import main as train_main
from audio_lightning.config import (
    as_plain,
    check_config,
    choices,
    compose,
    quote_paths,
    resolve,
    trusting,
    user_extensions,
)
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.models.base import AudioModel
from audio_lightning.run_folder import RunFolder
from audio_lightning.sweeps.identity import canonical_config

# ruff: noqa: F811 - the fixture's name is that of an argument

PROJECT = Path(__file__).parents[2]

FAULTY = """from audio_lightning.models.base import AudioModel
from torch import nn
class Built(AudioModel):
    input_kind = "spectrogram"
    def __init__(self, input_shape, num_classes):
        super().__init__(input_shape, num_classes)
        self.layer = nn.Linear(input_shape.zands, 3)
    def embed(self, x):
        return x
class Run(AudioModel):
    input_kind = "spectrogram"
    def __init__(self, input_shape, num_classes):
        super().__init__(input_shape, num_classes)
        self.embedding_dim, self.head = 3, nn.Linear(3, num_classes)
    def embed(self, x):
        return x.zum()
"""
"""A model that cannot be built, and one that cannot be run."""


@pytest.fixture(scope="module")
def own(outside: Path, tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training with the foreign model and front end."""
    folder = tmp_path_factory.mktemp("own") / "run"
    lines = quote_paths(
        [
            "trust=my_sounds",
            searched(outside / "conf"),
            "data=urbansound8k",
            f"data.root={tiny_urbansound8k}",
            *LINE,
        ]
    )
    with pytest.MonkeyPatch.context() as patch, user_extensions(lines):
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        config = compose(lines)
        check_config(config)
        train(config, RunFolder(folder))
    return folder


# Folders of YAML files


@pytest.mark.parametrize("key", ["hydra.searchpath=['file://{}/conf']", "hydra.searchpath=[pkg://my_sounds.conf]"])
def test_files_of_a_folder_can_be_chosen(outside: Path, key: str) -> None:
    (line,) = quote_paths([key.format(outside)])
    assert compose([line, "model=pooled"]).model.width == 8
    with pytest.raises(ConfigError, match="did you mean pooled"):
        compose([line, "model=poled"])
    with user_extensions([line]):
        assert {"pooled", "cnn"} <= set(choices("model"))
    assert "pooled" not in choices("model")
    with pytest.raises(ConfigError, match="there is no such model"):
        compose(["model=pooled"])


@pytest.mark.parametrize(
    ("command", "option"),
    [(["train"], ["--config-dir={}"]), (["sweep"], ["--config-dir", "{}"]), (["models"], ["-cd", "{}"])],
    ids=" ".join,
)
def test_commands_take_a_folder(outside: Path, command: list[str], option: list[str]) -> None:
    """Hydra's own option, at any position among the overrides."""
    words = [word.format(outside / "conf") for word in option]
    asked = {"train": ["--cfg", "job"], "sweep": ["sweep.dry_run=true", "seed=0"], "models": []}[command[0]]
    line = ["trust=my_sounds", *words, "model=pooled", *asked]
    found = subprocess.run(
        [sys.executable, "-m", "audio_lightning", *command, *line], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert "pooled" in found.stdout or "my_sounds.nets.Pooled" in found.stdout
    if command == ["sweep"]:
        shown = shlex.join(["--config-dir", str(outside / "conf"), "trust=my_sounds", "model=pooled", "seed=0"])
        assert f"next: python sweep.py {shown}\n" in found.stdout


def test_the_scripts_take_a_folder(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--config-dir", str(outside / "conf"), "model=poled"]
    for main in (train_main, sweep):
        assert main(line) == 2
        assert "did you mean pooled" in capsys.readouterr().err
        assert main([*line, "--config-dir"]) == 2
        assert "argument --config-dir/-cd: expected one argument" in capsys.readouterr().err
        assert main(["--config-dir", "nowhere"]) == 2
        assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "sweep", "models", "features", "compatibility", "check", "evaluate"])
def test_every_command_with_overrides_looks_for_the_folder(command: str) -> None:
    found = CliRunner().invoke(app, [command, *(["run"] if command == "evaluate" else []), "-cd", "nowhere"])
    assert (found.exit_code, found.output.count("\n")) == (2, 1)
    assert found.output.startswith("error: nowhere: no such folder")


@pytest.mark.parametrize("command", ["train", "sweep", "models", "features", "compatibility", "check"])
def test_renamed_key_is_refused_with_the_new_option(command: str) -> None:
    found = CliRunner().invoke(app, [command, "conf_dir=my conf", "model=my_net"])
    assert found.exit_code == 2
    assert found.output == (
        "error: conf_dir=my conf: renamed; type --config-dir 'my conf', or pass config_dir='my conf' in Python\n"
    )


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "optimizer/mine.yaml"
    file.parent.mkdir()
    for time, rate in enumerate((0.5, 0.25)):  # as in a notebook, between two trainings
        file.write_text(f"_target_: torch.optim.SGD\nlr: {rate}\n")
        os.utime(file, (time, time))
        assert compose([searched(tmp_path), "optimizer=mine"]).optimizer.lr == rate


def test_a_package_that_is_searched_is_not_imported(outside: Path) -> None:
    foreign.forget()
    compose(["hydra.searchpath=[pkg://my_sounds.conf]", "model=pooled"])
    with trusting("my_sounds"):
        assert "my_sounds" not in sys.modules


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hydra.searchpath=[nowhere]", "nowhere: no such folder"),
        ("hydra.searchpath=[http://x]", "expected file://FOLDER or pkg://PACKAGE"),
        ("hydra.searchpath=[pkg://my_sounds.nothing]", "no such package"),
        ("hydra.searchpath='a','b'", "expected one value or a list"),
    ],
)
def test_missing_folder_is_an_error(outside: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose([line])


def test_existing_choice_name_is_refused(outside: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/cnn.yaml").write_text("_target_: my_sounds.nets.Pooled\n")
    with pytest.raises(ConfigError, match="model=cnn exists already"):
        compose(quote_paths([searched(tmp_path), "model=cnn"]))


# Classes of trusted modules


def refused(lines: list[str], kind: type = AudioModel) -> str:
    def ask() -> None:
        config = compose(lines)
        check_config(config)
        resolve(config.model._target_, kind, where="model")

    with user_extensions(lines), pytest.raises(ConfigError) as caught:
        ask()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no_model", "NoModel is not a AudioModel"),
        ("borrowed", "is defined in torch.nn.modules.linear; expected"),
        ("absent", "my_sounds.nets has no Poled; did you mean Pooled?"),
        ("broken", "my_sounds.broken cannot be imported: SyntaxError"),
    ],
)
def test_class_of_another_kind_in_a_trusted_module_is_refused(outside: Path, model: str, message: str) -> None:
    lines = quote_paths(["trust=[my_sounds]", searched(outside / "conf"), f"model={model}"])
    assert message in refused(lines, object if model == "borrowed" else AudioModel)


def test_without_trust_the_module_is_named_and_not_imported(outside: Path) -> None:
    foreign.forget()
    message = refused(quote_paths([searched(outside / "conf"), "model=pooled"]))
    assert "trust=my_sounds in a training or sweep, --trust my_sounds with a checkpoint" in message
    assert "my_sounds" not in sys.modules


def test_a_file_does_not_trust(outside: Path) -> None:
    """An experiment of the folder sets ``trusted_modules``, which only the command line may do."""
    lines = quote_paths([searched(outside / "conf"), "experiment=mine"])
    assert compose(lines).trusted_modules == "my_sounds"
    assert "is not allowed" in refused(lines)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("os", "os.system"),
        ("os", "os.PathLike"),
        ("subprocess", "subprocess.Popen"),
        ("builtins", "builtins.eval"),
        ("torch.nn", "torch.nn.Linear"),
        ("my_sounds", "my_sounds.nets.nn.Linear"),
        ("my_sounds", "my_sounds_evil.Net"),
        ("my_sounds.fronts", "my_sounds.nets.Pooled"),
    ],
)
def test_trust_reaches_classes_of_the_right_kind_in_that_module_alone(outside: Path, module: str, target: str) -> None:
    with trusting(module), pytest.raises(ConfigError, match=r"^model\._target_="):
        resolve(target, AudioModel, where="model")


def test_trust_ends_with_its_context(outside: Path) -> None:
    with trusting("my_sounds"):
        assert resolve("my_sounds.nets.Pooled", AudioModel, where="model").__name__ == "Pooled"
    with pytest.raises(ConfigError, match="is not allowed"):
        resolve("my_sounds.nets.Pooled", AudioModel, where="model")


@pytest.mark.parametrize("name", ["no_such_module_anywhere", "./nets.py", "my sounds", "[1]"])
def test_missing_module_is_an_error(name: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"^trust=.*(there is no module|expected the name of a module)"),
        trusting(name),
    ):
        pass


@pytest.mark.parametrize("value", ["1", "true"])
def test_invalid_module_name_is_an_error(value: str) -> None:
    with pytest.raises(ConfigError, match="expected the name of a module"), user_extensions([f"trust={value}"]):
        pass


def test_module_in_the_current_folder_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lies_here.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(ConfigError, match=r"it is in the current folder.*PYTHONPATH=\."), trusting("lies_here"):
        pass


def test_an_exception_of_a_users_class_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    task = AudioTask(("a", "b"), 8000, 8000)
    with trusting("faulty"):
        for name, message in (
            ("Built", r"^model: Built\.__init__ raised AttributeError: .*zands.* \(faulty\.py, line 7\)$"),
            (
                "Run",
                r"^model: Run cannot compute on .*: Run\.embed raised AttributeError: .*zum.*\(faulty\.py, line 16\)$",
            ),
        ):
            config = as_plain(compose(["model=cnn"])) | {"model": {"_target_": f"faulty.{name}"}}
            with pytest.raises(ConfigError, match=message):
                check_networks(config, task)


# Checkpoints and run folders


def test_checkpoint_with_foreign_classes_needs_trust(own: Path) -> None:
    best = own / "checkpoints/best.ckpt"
    foreign.forget()
    with pytest.raises(
        CheckpointError, match=r"refused: feature\._target_=my_sounds\.fronts\.Power.*--trust my_sounds"
    ):
        AudioClassifier.load_from_checkpoint(best)
    assert "my_sounds" not in sys.modules
    classifier = AudioClassifier.load_from_checkpoint(best, trust="my_sounds")
    assert type(classifier.network).__name__ == "Pooled"
    assert classifier(torch.zeros(1, 2000)).shape == (1, 3)
    with pytest.raises(CheckpointError):  # trust was limited to that call
        AudioClassifier.load_from_checkpoint(best)


def test_checkpoint_cannot_grant_trust(own: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(own / "checkpoints/best.ckpt", weights_only=True)
    assert (
        checkpoint["hyper_parameters"]["config"]["trusted_modules"] == "my_sounds"
    )  # it names the module of its classes
    checkpoint["hyper_parameters"]["config"]["trusted_modules"] = ["my_sounds", "os"]
    checkpoint["hyper_parameters"]["trust"] = checkpoint["trust"] = ["my_sounds"]
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    foreign.forget()
    with pytest.raises(CheckpointError):
        AudioClassifier.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert "my_sounds" not in sys.modules


def test_commands_take_trust(own: Path, tiny_urbansound8k: Path) -> None:
    runner, recordings = CliRunner(), str(tiny_urbansound8k / "audio/fold1")
    for command in (["predict", str(own), recordings], ["embed", str(own), recordings], ["evaluate", str(own)]):
        found = runner.invoke(app, command)
        assert (found.exit_code, "--trust my_sounds" in found.output) == (2, True), command
        trusted = runner.invoke(app, [*command, "--trust", "my_sounds"])
        assert trusted.exit_code == 0, trusted.output


def test_resuming_a_run_with_foreign_classes_needs_trust(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run folder may come from a stranger, like a checkpoint."""
    assert train_main([f"resume={own}"]) == 2
    assert "trust=my_sounds" in capsys.readouterr().err
    assert train_main([f"resume={own}", "trust=my_sounds"]) == 0
    assert "FILE.wav --trust my_sounds\n" in capsys.readouterr().out


def test_an_unknown_choice_beside_a_trusted_module_asks_for_the_folder_of_yaml_files(outside: Path) -> None:
    with (
        trusting("my_sounds"),
        pytest.raises(ConfigError, match=r"did you mean bce\?.*; for a YAML file of your own, add --config-dir DIR"),
    ):
        compose(["loss=gce"])
    with trusting("my_sounds"), pytest.raises(ConfigError) as found:
        compose([searched(outside / "conf"), "loss=gce"])
    assert "--config-dir" not in str(found.value)


def test_models_command_lists_the_users_models(outside: Path) -> None:
    line = [searched(outside / "conf"), "trust=my_sounds", "feature=power", "data.sample_rate=8000"]
    from audio_lightning.classifier.catalog import cells, task_of

    with user_extensions(line):
        (cell,) = cells(["power"], ["pooled"], task_of(["data.sample_rate=8000"], 4), [])
    assert (cell.reason, cell.parameters) == (None, 33 * 8 + 8 + 8 * 4 + 4)


# Trials


def test_trial_identity_depends_on_the_code_of_its_model(outside: Path) -> None:
    config = {"model": {"_target_": "my_sounds.nets.Pooled"}, "trusted_modules": "my_sounds"}
    before = canonical_config(config)
    assert canonical_config({**config, "trusted_modules": ["my_sounds", "other"]}) == before
    file = outside / "my_sounds/nets.py"
    try:
        file.write_text(foreign.NETS + "\n# changed\n")
        assert canonical_config(config) != before
    finally:
        file.write_text(foreign.NETS)
    assert "sources.my_sounds" not in canonical_config({"model": {"_target_": "audio_lightning.models.cnn.CNN"}})


@pytest.mark.full
def test_trials_of_a_sweep_trust(outside: Path, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    from audio_lightning.compare.trials import SweepFolder

    line = [searched(outside / "conf"), "data=urbansound8k", f"data.root={tiny_urbansound8k}", *LINE[2:]]
    vary = ["feature=power", "model=pooled,cnn", "sweep.retries=0", f"sweep.dir={tmp_path / 'sweep'}"]
    assert sweep([*line, *vary]) == 2
    assert sweep([*line, *vary, "trust=[my_sounds]"]) == 0
    states = {status.choices["model"]: status.state for _, status in SweepFolder(tmp_path / "sweep").folders()}
    assert states == {"pooled": "done", "cnn": "done"}


@pytest.mark.full
@pytest.mark.parametrize("launch", [["trainer=ddp_sim"], ["-m", "seed=0"]], ids=["ddp", "multirun"])
def test_other_processes_trust(outside: Path, tiny_urbansound8k: Path, tmp_path: Path, launch: list[str]) -> None:
    line = [searched(outside / "conf"), "trust=my_sounds", "data=urbansound8k", f"data.root={tiny_urbansound8k}"]
    line += [*LINE, f"hydra.run.dir={tmp_path / 'run'}", f"hydra.sweep.dir={tmp_path / 'run'}"]
    result = subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), *line, *launch],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (metrics,) = (tmp_path / "run").rglob("metrics.json")
    assert f'"devices": {2 if launch[0] != "-m" else 1}' in metrics.read_text()


def test_data_source_and_callback_of_the_user(outside: Path, tmp_path: Path) -> None:
    """A data source and a callback; the data comes from tables of ``tiny``."""
    from lightning.pytorch.callbacks import Callback

    from audio_lightning.config import build
    from audio_lightning.data.datamodule import AudioDataModule

    root = tiny.write_folder(tmp_path / "data")
    config = compose(quote_paths(["data=folder", f"data.root={root}", "data._target_=my_sounds.more.Sounds"]))
    with trusting("my_sounds.more"):
        data = build(config.data, AudioDataModule, where="data")
        node = {"_target_": "my_sounds.more.Note", "path": str(tmp_path / "note")}
        assert build(node, Callback, where="callbacks.note").path == str(tmp_path / "note")
    assert type(data).__name__ == "Sounds"
    data.setup()
    assert data.manifest.classes == tiny.CLASSES
