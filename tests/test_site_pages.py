"""The pages of the site: files that they give work as they stand, and the README names what can be chosen."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import tiny

import audio_lightning as al

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
README = (PROJECT / "README.md").read_text(encoding="utf-8")

CHOICES = ("data", "feature", "augment", "model", "loss", "metrics", "optimizer", "scheduler", "finetune", "trainer")
OWN_CODE = {"own-model": ("model=separable", "model.channels=[4,8]"), "own-loss": ("loss=poly", "loss.epsilon=0.5")}
"""Pages with a class of the reader's own, and overrides that choose it."""

TUTORIALS = {
    "keywords": (["data=speech_commands", "data.root=words", "data.split=speaker"], 4, 20),
    "instruments": (["data=instruments", "data.root=notes"], 4, 32),
    "birds": (
        ["data=annotations", "data.root=birds", "data.clip_seconds=1.0", "data.hop_seconds=0.5",
         "data.background_label=background"], 4, 12,
    ),
}  # fmt: skip
"""Overrides that read the generated recordings of a tutorial, and their numbers of classes and of groups."""


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write the code blocks of a page whose first line is a comment with a path, and return the paths."""
    written = []
    for code in re.findall(r"```(?:python|yaml)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        if found := re.match(r"# (\S+\.(?:py|yaml))\n", code):
            path = folder / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
            written.append(path)
    return written


@pytest.mark.parametrize("page", OWN_CODE)
def test_a_class_of_the_reader_s_own_trains(
    page: str, tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python file and the YAML of the page, for one epoch, and predictions with the checkpoint."""
    files = write_files(DOCS / f"how-to/{page}.md", tmp_path)
    assert sorted(path.suffix for path in files) == [".py", ".yaml"]
    monkeypatch.syspath_prepend(tmp_path)
    settings = [word for word in tiny.TRAIN_OVERRIDES if page != "own-model" or not word.startswith("model.")]
    try:
        trained = al.train(
            "trust=my_sounds", "data=urbansound8k", f"data.root={tiny_urbansound8k}", *settings, *OWN_CODE[page],
            "trainer.max_epochs=1", "plots=false", config_dir=tmp_path / "my_conf", folder=tmp_path / "run",
        )  # fmt: skip
        assert trained.metrics["epochs"] == 1
        clips = next((tiny_urbansound8k / "audio").iterdir())
        assert len(al.predict(trained, clips, trust="my_sounds")) == 9
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "my_sounds"]:
            del sys.modules[name]


@pytest.mark.parametrize("page", TUTORIALS)
def test_the_recordings_of_a_tutorial(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of the page writes recordings that divide into three parts without leakage."""
    monkeypatch.chdir(tmp_path)
    (program,) = write_files(DOCS / f"tutorials/{page}.md", tmp_path)
    runpy.run_path(str(program), run_name="__main__")
    overrides, classes, groups = TUTORIALS[page]
    table = (data := al.read_data(*overrides)).manifest.table
    assert len(data.manifest.classes) == classes
    assert table["group"].nunique() == groups
    assert set(table["split"]) == {"train", "validation", "test"}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_readme_names_every_choice(choice: str) -> None:
    (row,) = [line for line in README.splitlines() if re.match(rf"\| .*`{choice}`", line)]
    names = {path.stem for path in (PROJECT / "conf" / choice).glob("[!_]*.yaml")}
    assert names <= set(re.findall(r"`(\w+)`", row))
