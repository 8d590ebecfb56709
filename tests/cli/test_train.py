"""``train.py``: exit codes, one-line error messages, and their latency."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

import audio_lightning as al
from audio_lightning.cli import train as cli
from audio_lightning.config import check_config, choices, quote_paths
from audio_lightning.config.compose import _of_choices
from audio_lightning.core.errors import ConfigError
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.start import compose_run, run_training

PROJECT = Path(__file__).parents[2]


def typed(*arguments: str, cwd: Path = PROJECT, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "train.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


MISTAKES = {
    "an unknown group": (["modle=resnet"], "did you mean model?"),
    "an unknown choice": (["model=resnt"], "did you mean resnet?"),
    "an unknown key behind a plus": (["+trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
    "a missing folder": (["data=urbansound8k", "data.root=/nowhere"], "data.root=/nowhere: no such folder"),
    "a wrong argument": (["model=resnet", "model.dept=18"], "did you mean model.depth?"),
    "an unknown option": (["--multirum"], "--multirum: no such option"),
    "a wrong axis of a multirun": (["-m", "model=cnn,resnt"], "did you mean resnet?"),
    "a wrong key in a multirun": (
        ["-m", "model=cnn,resnet", "trainer.max_epoch=3"],
        "did you mean trainer.max_epochs?",
    ),
    "several devices in a multirun": (["-m", "seed=0,1", "trainer.devices=2"], "trainer.devices=2 with -m"),
    "resume of nothing": (["resume=/nowhere"], "/nowhere: expected a folder with config.yaml"),
    "a run folder below a file": ([f"hydra.run.dir={__file__}/run"], "Not a directory); give another folder"),
    "a run folder with too long a name": (
        [f"hydra.run.dir={'x' * 300}/run"],
        "File name too long); give another folder",
    ),
    "a run folder in a special file system": (
        ["hydra.run.dir=/proc/run"],
        "hydra.run.dir=/proc/run: cannot be created",
    ),
    "resume in a multirun": (["-m", "resume=/nowhere", "seed=0,1"], "leave one of them out"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_with_exit_code_2(name: str, tmp_path: Path) -> None:
    arguments, message = MISTAKES[name]
    result = typed(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"


@pytest.mark.parametrize(("kind", "names"), [("fit", ["state.json", "clock.json"]), ("sweep", ["sweep.json"])])
def test_the_folder_of_a_fit_or_a_sweep_is_no_run_folder(
    kind: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    message = f"hydra.run.dir={tmp_path}: is the folder of a {kind}, not of a run; give another folder"
    assert cli.main([f"hydra.run.dir={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    with pytest.raises(ConfigError, match=re.escape(message)):
        al.train(folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_mistakes_and_help_need_no_heavy_imports() -> None:
    code = (
        "import sys; from audio_lightning.cli.train import main; codes = main(['--help']), main(['model=resnt']); "
        "heavy = ('torch', 'lightning', 'pandas', 'matplotlib', 'typer'); "
        "print(codes, [name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert result.stdout.splitlines()[-1] == "(0, 2) []"


@pytest.mark.parametrize("way", ["command", "api"])
def test_a_run_is_composed_and_checked_once(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    load = counted("composed", ConfigLoaderImpl.load_configuration)
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load)
    for module in ("config", "cli.train"):
        monkeypatch.setattr(f"audio_lightning.{module}.check_config", counted("checked", check_config))
    _of_choices.cache_clear()
    if way == "command":
        monkeypatch.setattr(cli, "run_training", lambda *_, **__: {})
        assert cli.main([f"hydra.run.dir={tmp_path}", "model=lstm"]) == 0
        assert OmegaConf.load(tmp_path / ".hydra/config.yaml").model._target_.endswith(".LSTM")
        assert OmegaConf.load(tmp_path / ".hydra/overrides.yaml") == ["model=lstm"]
    else:
        monkeypatch.setattr("audio_lightning.training.start.train_in", lambda *_, **__: {})
        with pytest.raises(ConfigError, match=r"no finished training, as metrics\.json is missing"):
            al.train("model=lstm", folder=tmp_path)
    assert counts == {"composed": 1, "checked": 1}


@pytest.mark.full
def test_unused_modules_are_not_imported(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    arguments = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES]
    arguments += [f"hydra.run.dir={tmp_path}/run", "plots=false"]
    code = f"""
import sys
import lightning.pytorch  # and what it brings along itself
before = set(sys.modules)
from audio_lightning.cli.train import main
code = main({arguments!r})
heavy = ("wandb", "tensorboard", "matplotlib", "sklearn", "librosa", "transformers", "torchvision")
print(code, [name for name in heavy if name in set(sys.modules) - before])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert result.stdout.splitlines()[-1] == "0 []", result.stdout + result.stderr


def test_help_names_every_axis_and_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    axes = [f"{group}={'|'.join(choices(group))}" for group in ("data", "model", "feature", "augment", "optimizer")]
    assert max(map(len, out.splitlines())) <= 80
    for line in (*axes, "resume=RUN_DIR"):
        assert line in out.replace("|\n    ", "|")


def test_complete_run(tmp_path: Path) -> None:
    """Unusual names, relative to the working directory; without a terminal, one line per epoch is printed."""
    root = tiny.write_urbansound8k(tmp_path / "my sounds (1)=ö, 'all'")
    arguments = ["data=urbansound8k", f"data.root={root.name}", *tiny.TRAIN_OVERRIDES, "model=cnn"]
    arguments.append("hydra.run.dir=out (ö)=1/${model}")
    result = typed(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "out (ö)=1/cnn"
    lines = result.stdout.splitlines()
    assert len([line for line in lines if line.startswith("epoch ")]) == 4
    assert "\x1b" not in result.stdout
    assert lines[-3].startswith("run folder: ")
    assert shlex.split(lines[-1]) == ["next:", "audio-lightning", "predict", "out (ö)=1/cnn", "FILE.wav"]
    for name in ("metrics.json", "curves.png", "confusion_matrix.png", ".hydra/overrides.yaml", "train.log"):
        assert (folder / name).exists(), name
    assert result.stderr == ""
    log = (folder / "train.log").read_text()
    assert not [line for line in lines if not line.startswith(("preparing ", "next: ")) and line not in log]

    again = typed(*arguments, cwd=tmp_path)
    assert again.returncode == 2
    assert "holds a run already" in again.stderr

    resumed = typed("resume=out (ö)=1/cnn", cwd=tmp_path)
    assert resumed.returncode == 0
    assert "is finished" in resumed.stdout


@pytest.mark.parametrize(
    ("typed", "folder"),
    [
        ("runs/${model}", "runs/cnn"),
        ("runs/${feature}-${data}_${seed}", "runs/logmel-demo_0"),
        ("${optimizer}/${hydra:runtime.choices.model}", "adamw/cnn"),
        ("runs/${model}/${optimizer.lr}", "runs/cnn/0.001"),
    ],
)
def test_a_run_folder_is_named_after_choices(typed: str, folder: str) -> None:
    assert compose_run(quote_paths([f"hydra.run.dir={typed}"]))[1].path == Path(folder)


def test_a_run_folder_is_not_named_after_a_dictionary() -> None:
    with pytest.raises(ConfigError, match=r"tuner is a node .*; use one of them, such as \$\{tuner\.lr_find\}"):
        compose_run(quote_paths(["hydra.run.dir=runs/${tuner}"]))


def test_runs_stopped_by_their_data_restart_in_their_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tiny.write_folder(tmp_path / "data"), RunFolder(tmp_path / "run")
    wrong = next(root.rglob("*.wav"))
    sound = wrong.read_bytes()
    wrong.write_bytes(b"")
    settings = ["data=folder", f"data.root={root}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=1", "plots=false"]
    settings.append(f"hydra.run.dir={folder.path}")
    assert cli.main(settings) == 2
    assert folder.config.exists()
    assert folder.problems.exists()
    wrong.write_bytes(sound)

    with folder.taken():  # as by a process that has not come to its first epoch yet
        left = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path != folder.log}
        assert cli.main([*settings, "seed=1"]) == 2
        assert cli.main([f"resume={folder.path}"]) == 2
        assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path != folder.log} == left
    assert capsys.readouterr().err.count("another process is training there") == 2

    assert cli.main([*settings, "seed=2"]) == 0
    assert folder.read_config().seed == 2
    assert not folder.problems.exists(), "what was wrong is not any more"
    assert cli.main([*settings, "seed=3"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert folder.read_config().seed == 2


def test_a_second_process_overwrites_nothing(tmp_path: Path) -> None:
    """Where both found it free: one of them trained in it while the other was still importing."""
    folder = RunFolder(tmp_path)
    folder.history.touch()
    with pytest.raises(ConfigError, match="holds a run already"):
        run_training(OmegaConf.create(), folder)
    assert not folder.config.exists()


@pytest.mark.full
def test_multiruns_continue_after_a_failure(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    settings = [line for line in tiny.TRAIN_OVERRIDES if not line.startswith(("model", "trainer.max"))]
    result = typed(
        "-m", "data=urbansound8k", f"data.root={tiny_urbansound8k}", *settings, "model=dnn,cnn", "trainer.max_epochs=1",
        f"hydra.sweep.dir={tmp_path}/multi", "plots=false",
    )  # fmt: skip
    assert result.returncode == 2, result.stdout + result.stderr
    assert "dnn takes a waveform" in result.stderr
    assert "1 of 2 jobs failed" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "multi/0/metrics.json").exists()
    assert (tmp_path / "multi/1/metrics.json").exists()


@pytest.mark.full
def test_multirun_jobs_drop_keys_of_other_data(tmp_path: Path) -> None:
    """Hydra composes them by itself."""
    root = tiny.write_folder(tmp_path / "data")
    result = typed(
        "-m", "experiment=speech10_conv1d_sgd", "data=folder", f"data.root={root}", "debug=tiny", "trainer=cpu",
        "seed=0,1", f"hydra.sweep.dir={tmp_path}/multi",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "sets data.task, data.words, which data=folder does not have; left out" in result.stderr
    for job in "01":
        data = OmegaConf.load(tmp_path / f"multi/{job}/config.yaml").data
        assert ("task" in data, data.clip_seconds) == (False, 1.0)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.full),
    ],
)
def test_interrupted_runs_print_how_to_continue(
    tiny_urbansound8k: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "train.py", "data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES,
         "trainer.max_epochs=100000", f"hydra.run.dir={folder}"],
        cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # A shell that starts the tests in the background lets them, and so this process, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"continue with: python train.py resume={folder}" in err
    assert "Traceback" not in err
