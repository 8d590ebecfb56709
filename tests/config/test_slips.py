"""Common slips of users of Lightning, argparse or other programs: each gets a useful hint."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.cli.sweep import main as sweep
from audio_lightning.cli.train import main as train
from audio_lightning.config import compose, quote_paths
from audio_lightning.config.hints import CHOICE_SYNONYMS, SYNONYMS
from audio_lightning.config.keys import keys_of_choices
from audio_lightning.config.location import choices, groups

PROJECT = Path(__file__).parents[2]

SLIPS = {
    # The last part of a key, or its name in other programs.
    "epochs=5": "there is no key epochs; did you mean trainer.max_epochs?",
    "max_epochs=5": "did you mean trainer.max_epochs?",
    "trainer.epochs=5": "did you mean trainer.max_epochs?",
    "train.max_epochs=5": "did you mean trainer.max_epochs?",
    "batch_size=8": "did you mean data.batch_size?",
    "batch-size=8": "did you mean data.batch_size?",
    "lr=0.1": "did you mean optimizer.lr?",
    "model.optimizer.lr=0.1": "did you mean optimizer.lr?",
    "learning_rate=0.1": "did you mean optimizer.lr?",
    "root=sounds": "did you mean data=folder data.root?",
    "data.path=sounds": "did you mean data=folder data.root?",
    "devices=2": "did you mean trainer.devices?",
    "gpus=1": "did you mean trainer.devices?",
    "trainer.gpus=1": "did you mean trainer.devices?",
    "cuda=true": "did you mean trainer=gpu?",
    "fast_dev_run=true": "did you mean debug=fdr?",
    "trainer.fast_dev_run=true": "did you mean debug=fdr?",
    "ckpt_path=best.ckpt": "did you mean resume?",
    "hparams_search=optuna": "did you mean python sweep.py sweep=search?",
    "num_classes=10": "it is inferred from the data and the feature; leave it out",
    "Model=cnn": "did you mean model?",
    "dataset=esc50": "did you mean data?",
    "lerning_rate=0.1": "did you mean optimizer.lr?",
    # A key of another choice.
    "callbacks.early_stopping.patience=3": "with callbacks=default; it needs callbacks=early_stopping",
    "+callbacks.early_stopping.patience=3": "callbacks.early_stopping has no _target_; it needs callbacks=early_stop",
    "patience=3": "callbacks.early_stopping.patience (with callbacks=early_stopping) or scheduler.patience (with",
    "optimizer.nesterov=true": "no key optimizer.nesterov with optimizer=adamw; it needs optimizer=muon or sgd",
    "model.depth=50": "with model=cnn; it needs model=densenet, resnet or vgg",
    "dry_run=true": "did you mean sweep.dry_run (of python sweep.py)?",
    "sweep.dry_run=true": "it is one of python sweep.py",
    # Another spelling of a choice, one with its variant, or its name in other programs.
    "feature=MFCC": "did you mean mfcc?",
    "feature=log-mel": "did you mean logmel?",
    "feature=mel_spectrogram": "did you mean logmel?",
    "feature=STFT": "did you mean spectrogram?",
    "model=ResNet18": "did you mean model=resnet model.depth=18?",
    "model=resnet50": "did you mean model=resnet model.depth=50?",
    "model=efficientnet_b0": "did you mean model=efficientnet model.variant=b0?",
    "model=resnet7": "there is no such model; did you mean resnet?",
    "optimizer=Adam": "did you mean adam?",
    "optimizer=radam": "did you mean adam? (choices: adam, adamw, muon, sgd)",
    "scheduler=ReduceLROnPlateau": "did you mean plateau?",
    "logger=[csv,WandB]": "logger=WandB: there is no such logger; did you mean wandb?",
    "data=gtzan": "; for your own recordings, use data=folder data.root=DIR",
    "data=no/such": "; for your own recordings, use data=folder data.root=DIR",
    # Commas and empty values.
    "model=cnn,lstm": "one training has one model; for several, use python sweep.py model=cnn,lstm",
    "optimizer.lr=0.1,0.01": "for several, use python sweep.py optimizer.lr=0.1,0.01",
    "optimizer.lr=0,5": "python sweep.py optimizer.lr=0,5, or for one number: optimizer.lr=0.5",
    "optimizer.lr=0,001": "the decimal separator is a point; type optimizer.lr=0.001",
    "optimizer.betas=0.9,0.99": "a list needs brackets; type optimizer.betas=[0.9,0.99]",
    "~seed": "~seed: a training needs this key, whose default is 0; leave ~seed out",
    "~monitor": "~monitor: a training needs this key, whose default is null",
    "~ensemble.num_members": "~ensemble.num_members: a training needs this key, whose default is 1",
    "plots=1": "plots=1: expected true or false, the default is true",
    "trainer.max_epochs=true": "trainer.max_epochs=true: expected a whole number, the default is 20",
    "seed=": "seed=: expected a whole number, the default is 0",
    "data.root=": "data.root=: the value is missing; type data.root=VALUE",
    "trainer.max_epochs=ten": "expected a whole number, the default is 20",
    "model.channels=32": "expected a list, as in model.channels=[32], the default is [16, 32, 64]",
    "data=folder data.root=. data.ignore=a,b": "a list needs brackets; type data.ignore=[a,b]",
    # Values that are invalid for any data.
    "data.validation_fraction=2": "data.validation_fraction=2: expected a fraction of at least 0 and less than 1",
    "data.test_fraction=-0.1": "data.test_fraction=-0.1: expected a fraction of at least 0 and less than 1",
    "data.validation_fraction=1": "expected a fraction of at least 0 and less than 1",
    # Spaces, at which the shell splits.
    "model=cnn, lstm": "remove the space after the comma: model=cnn,lstm",
    "batch_size = 32": "remove the spaces: batch_size=32",
    "data.batch_size= 32": "remove the space: data.batch_size=32",
    "data.batch_size =32": "remove the spaces: data.batch_size=32",
    "resnet": "did you mean model=resnet?",
    # Options.
    "--epochs 5": "keys are typed as KEY=VALUE: trainer.max_epochs=5",
    "--batch-size=8": "keys are typed as KEY=VALUE: data.batch_size=8",
    "--depth 18": "KEY=VALUE: model.depth=18 (with model=densenet, resnet or vgg)",
    "--dry-run": "KEY=VALUE: sweep.dry_run=true (of python sweep.py)",
    "--model resnet": "keys are typed as KEY=VALUE: model=resnet",
    "--gpu": "keys are typed as KEY=VALUE: trainer=gpu",
    "--fast_dev_run": "keys are typed as KEY=VALUE: debug=fdr",
    "--config my": "keys are typed as KEY=VALUE: experiment=my",
    "-x": "-x: no such option; `python train.py --help` lists all options and keys",
    "--config-dir": "argument --config-dir/-cd: expected one argument; see `python train.py --help`",
}


@pytest.mark.parametrize("typed", SLIPS)
def test_slip_gets_one_line_with_a_hint(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(typed.split()) == 2
    out, err = capsys.readouterr()
    assert SLIPS[typed] in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""


def test_slips_are_reported_without_heavy_imports() -> None:
    code = f"""
import sys
from audio_lightning.cli.train import main
codes = {{main(typed.split()) for typed in {list(SLIPS)!r}}}
print(codes, [name for name in ("torch", "lightning", "pandas", "numpy", "matplotlib") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert result.stdout.splitlines()[-1] == "{2} []"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("--epochs 5", "keys are typed as KEY=VALUE: trainer.max_epochs=5"),
        ("--dry-run", "keys are typed as KEY=VALUE: sweep.dry_run=true\n"),
        ("model=cnn, lstm", "remove the space after the comma: model=cnn,lstm"),
        ("optimizer.lr=0,001", "the decimal separator is a point; type optimizer.lr=0.001"),
        ("model=ResNet18,cnn", "did you mean model=resnet model.depth=18?"),
        ("sweep.dryrun=true", "did you mean sweep.dry_run?"),
    ],
)
def test_a_slip_in_a_sweep(typed: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(typed.split()) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (["dog/1.wav", "cat/1.wav"], "type data=folder {root} (a folder for each class)"),
        (["clips.csv", "1.wav"], "type data=table {root} data.table=clips.csv"),
        (["1.wav", "1.Table.1.selections.txt"], "type data=annotations {root}"),
        (["clips.csv", "dog/1.wav"], "(a folder for each class), or data=table {root} data.table=clips.csv"),
        (["meta/esc50.csv", "audio/1.wav"], "type data=esc50 {root}"),
        (["_background_noise_/1.wav", "yes/1.wav"], "type data=speech_commands {root}"),
    ],
)
@pytest.mark.parametrize("form", ["data.root={}", "data={}"])
def test_folder_without_a_source_gets_a_suggested_source(
    form: str, files: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint can be copied: it is quoted for the shell."""
    root = tmp_path / "my sounds"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert train([form.format(root)]) == 2
    err = capsys.readouterr().err
    assert hint.removeprefix("type ").format(root=f"'data.root={root}'") in err
    assert err.count("\n") == 1


def test_a_folder_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    root = tmp_path / "sounds"
    root.mkdir()
    for function in ("listdir", "scandir"):
        monkeypatch.setattr(os, function, refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert train([f"data={root}"]) == 2
    err = capsys.readouterr().err
    assert f"for your own recordings, use data=folder data.root={root}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("source", ["folder", "instruments"])
@pytest.mark.parametrize(
    ("files", "root", "hint"),
    [
        (["dog/1.wav", "cat/1.wav"], "dog", "type data.root={above}"),
        (["dog/1.wav", "cat/1.wav"], "dog/", "type data.root={above}"),
        (["dog/1.wav", ".cache/1"], "dog", "expected {above}/dog/<class>/<recording>"),
        (["dog/1.wav", "dog/.cache/1", "cat/1.wav"], "dog", "type data.root={above}"),
        (["dog/1.wav", "dog/t.csv", "cat/1.wav"], "dog", "type data=table data.root={above}/dog data.table=t.csv"),
        (["rec/1.wav", "rec/1.wav.txt"], "rec", "type data=annotations data.root={above}/rec"),
    ],
)
def test_a_root_one_folder_too_deep_is_refused_before_anything_is_read(
    source: str, files: list[str], root: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert train([f"data={source}", f"data.root={tmp_path}/{root}"]) == 2
    err = capsys.readouterr().err
    assert "has no class folders, only files such as 1.wav; " + hint.format(above=tmp_path) in err
    assert err.count("\n") == 1


def test_a_root_without_recordings_is_not_called_a_class_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("notes/readme.txt", "other/readme.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert train(["data=folder", f"data.root={tmp_path}/notes"]) == 2
    expected = (
        f"has neither class folders nor recordings, only files such as readme.txt; expected {tmp_path}/notes/<class>"
    )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["old*", "'old*'", "[old*]", "['old*']", "a name (1), old", "'a,b'"])
def test_one_pattern_needs_no_brackets(typed: str) -> None:
    plain = typed.strip("[]'")
    lines = quote_paths([f"data.ignore={typed}"])
    if plain == "a name (1), old":
        assert lines == [f"data.ignore={typed}"], "a comma may part two patterns"
        return
    assert compose(["data=folder", "data.root=.", *lines]).data.ignore == [plain]


@pytest.mark.parametrize("typed", ["null", "[]", "", "${seed}"])
def test_other_values_are_not_quoted_as_patterns(typed: str) -> None:
    assert quote_paths([f"data.ignore={typed}"]) == [f"data.ignore={typed}"]


def test_cyclic_defaults_are_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    for name, other in (("ping", "pong"), ("pong", "ping")):
        (tmp_path / f"model/{name}.yaml").write_text(f"defaults: [{other}, _self_]\nsize_of_{name}: 1\n")
    for line in (["model=ping"], ["model.size_of_pong=2"]):  # it is chosen, or its keys are searched for a hint
        assert train(["--config-dir", str(tmp_path), *line]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert ("model=ping: the defaults" in err and str(tmp_path) in err) or "it needs model=ping" in err


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("predict", "runs/frist", "runs/first"),
        ("predict", "rums/first", "runs/first"),
        ("predict", "runs/frist/checkpoints/best.ckpt", "runs/first/checkpoints/best.ckpt"),
        ("predict", "runs/first/checkpoints/bst.ckpt", "runs/first/checkpoints/best.ckpt"),
        ("evaluate", "runs/my rum", "'runs/my run'"),
        ("leaderboard", "runs/frist", "runs/first"),
        ("refit", "runs/frist", "runs/first"),
        ("train", "resume=runs/frist", "runs/first"),
        ("predict", "elsewhere/entirely", None),
    ],
)
def test_a_mistyped_folder_gets_the_nearest_one(
    command: str, typed: str, meant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("runs/first/checkpoints", "runs/my run"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs/first/checkpoints/best.ckpt").touch()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [command, typed, *(["x.wav"] if command == "predict" else [])])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.endswith(f"; did you mean {meant}?" if meant else "no such checkpoint or run folder")


@pytest.mark.parametrize("command", ["predict", "evaluate", "embed", "leaderboard", "refit", "dashboard"])
def test_a_wrong_folder_is_answered_before_hydra_is_imported(command: str, tmp_path: Path) -> None:
    line = [command, str(tmp_path / "none"), *(["x.wav"] if command in ("predict", "embed") else [])]
    code = f"""
import sys
from audio_lightning.cli.main import app
try:
    app({line!r})
except SystemExit as stop:
    print(stop.code, [name for name in ("hydra", "omegaconf", "torch", "pandas") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert result.stdout.splitlines()[-1] == "2 []"


def test_a_slip_in_a_sweep_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that imports the heavy libraries would keep a pipe open for seconds."""
    monkeypatch.setattr("audio_lightning.sweeps.sweep.forkserver", lambda: pytest.fail("started"))
    assert sweep(["model=cnm,lstm"]) == 2
    assert sweep(["sweep.workrs=2"]) == 2


def test_suggested_names_exist() -> None:
    known = {
        *groups(),
        *keys_of_choices(),
        "seed",
        "monitor",
        "resume",
        "trusted_modules",
        "hydra.run.dir",
        "loss.label_smoothing",
    }
    suggested = [word for text in (*SYNONYMS, *CHOICE_SYNONYMS) for word in text.split() if "sweep" not in word]
    for text in suggested:
        group, equals, choice = text.partition("=")
        assert (choice in choices(group)) if equals and text != "python" else text in (*known, "python"), text
    words = [word for words in SYNONYMS.values() for word in re.sub("[_-]", "", words).split()]
    assert len(words) == len(set(words)), "a word with two meanings"
