"""Explicit lists of trials in files."""

from pathlib import Path

import pytest
import yaml

from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.grid import values_of
from audio_lightning.sweeps.trials_file import read_trials_file

TRIALS = [["model=cnn", "optimizer.lr=1e-3"], ["model=lstm", "data.labels='a b'"]]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "- [model=cnn, optimizer.lr=1e-3]\n- [model=lstm, \"data.labels='a b'\"]\n", TRIALS),
        ("a.txt", "# don't\n\nmodel=cnn optimizer.lr=1e-3  # first\n model=lstm \"data.labels='a b'\"\n", TRIALS),
        ("a.txt", "data.root=/a#b seed=1", [["data.root='/a#b'", "seed=1"]]),
    ],
)
def test_reads_lines_of_overrides(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text)
    assert read_trials_file(path) == expected


def test_reads_values_from_yaml(tmp_path):
    path = tmp_path / "trials.yml"
    path.write_text(
        "- model: cnn\n  optimizer.lr: 1e-3\n  seed: 0\n  data.labels: [a, 'b,c', '1']\n"
        "- {data.root: '/ä (1)', seed: null, trainer.deterministic: true, data.pattern: '1'}\n"
    )
    first, second = (values_of({line.partition("=")[0]: line for line in trial}) for trial in read_trials_file(path))
    assert first == {"model": "cnn", "optimizer.lr": 0.001, "seed": 0, "data.labels": ["a", "b,c", "1"]}
    assert second == {"data.root": "/ä (1)", "seed": None, "trainer.deterministic": True, "data.pattern": "1"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "seed=0\nseed='1", "a.txt:2: a quote is not closed"),
        ("a.txt", "seed=0\n\nseed", "a.txt:3: cannot read the override 'seed'"),
        ("a.txt", "seed=0,1", "a.txt:1: seed=0,1: several values; expected one value per key of a trial"),
        ("a.txt", "# nothing", "no trials"),
        ("a.yaml", "", "no trials"),
        ("a.yaml", "model: cnn", "a.yaml:1: expected a list of trials"),
        ("a.yaml", "- [seed=0]\n- 3", "a.yaml:2: a trial is a list .* found 3"),
        ("a.yaml", "- [seed=0]\n- [seed]\n", "a.yaml:2: cannot read the override 'seed'"),
        ("a.yaml", "- [seed=0]\n- [seed=1\n", r"a.yaml:3: not YAML"),
    ],
)
def test_errors_name_file_and_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_trials_file(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"sweep.trials_file=.*nowhere.txt: cannot be read"):
        read_trials_file(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("key", ["1", "null", "true", "0.5", "a:b", ""])
def test_a_key_that_hydra_would_change_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "trials.yaml"
    file.write_text(yaml.safe_dump([{"model": "cnn", "model.option": {key: 1}}]))
    with pytest.raises(ConfigError, match=r"trials.yaml:1: the key .* of a dictionary is read .* in an override"):
        read_trials_file(file)


def test_keys_that_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "trials.yaml"
    file.write_text("- {a: {b: 1, c d: {2: x}}}\n- {model.option.1: x}\n")
    first, second = read_trials_file(file)
    assert values_of({"a": first[0]}) == {"a": {"b": 1, "c d": {2: "x"}}}
    assert second == ["model.option.1=x"]
