"""Shell completion of overrides in zsh and in bash, which splits words at ``=``."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audio_lightning.cli.completion import complete_override
from audio_lightning.cli.train import main
from audio_lightning.config import choices
from audio_lightning.config.location import groups


def after(*words: str) -> Any:
    """Typer's context for the words before the cursor."""
    return SimpleNamespace(params={"overrides": list(words)})


def completed(*words: str, cursor: str, shell: str = "zsh") -> list[str]:
    line = ["audio-lightning", *words, cursor]
    variables = (
        {"COMP_WORDS": "\n".join(line), "COMP_CWORD": str(len(line) - 1)}
        if shell == "bash"
        else {"_TYPER_COMPLETE_ARGS": " ".join(line)}
    )
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['audio-lightning']; from audio_lightning.cli.main import main; main()",
        ],
        env={**os.environ, **variables, "_AUDIO_LIGHTNING_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
    )
    assert not result.stderr
    return result.stdout.split()


def test_bash_completes_commands_groups_choices_and_keys() -> None:
    assert "compatibility" in completed(cursor="comp", shell="bash")
    assert completed("train", cursor="mode", shell="bash") == [f"model={name}" for name in choices("model")]
    assert completed("train", "model", "=", cursor="res", shell="bash") == ["resnet"]
    assert completed("sweep", "model", cursor="=", shell="bash") == choices("model")
    assert completed("sweep", "model", "=", cursor="cnn,res", shell="bash") == ["cnn,resnet"]
    assert completed("train", "model", "=", "resnet", cursor="trainer.max_ep", shell="bash") == [
        "trainer.max_epochs=",
        "trainer.max_epochs=20",
    ]


@pytest.mark.parametrize(
    ("words", "cursor", "expected"),
    [
        (["train"], "model=res", ["model=resnet"]),
        (["train"], "callbacks=[ema", ["callbacks=[ema"]),
        (["train"], "see", ["seed=", "seed=0"]),
        (["train"], "model=nothing", []),
        (["models"], "feature=mf", ["feature=mfcc", "feature=mfcc13"]),
    ],
)
def test_words_are_completed(words: list[str], cursor: str, expected: list[str]) -> None:
    assert complete_override(after(*words[1:]), cursor) == expected


def test_choices_of_user_folders_are_completed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/pooled.yaml").touch()
    for folder, found in ((tmp_path, ["model=pooled"]), (tmp_path / "nowhere", [])):
        context: Any = SimpleNamespace(params={"overrides": [], "config_dir": folder})
        assert complete_override(context, "model=poo") == found


def test_keys_of_the_chosen_option_are_completed() -> None:
    keys = complete_override(after("model=lstm"), "model.")
    assert "model.bidirectional=" in keys
    assert "model.channels=" not in keys


def test_nodes_are_completed_with_a_dot() -> None:
    assert "callbacks.early_stopping." in complete_override(after("callbacks=early_stopping"), "callbacks.")


def test_the_first_word_may_be_any_group_or_key() -> None:
    found = complete_override(after(), "")
    assert {f"{group}=" for group in groups()} | {"seed=", "tuner."} <= set(found)


def test_hydra_completion_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-sc", "install=bash"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "audio-lightning --install-completion" in line
