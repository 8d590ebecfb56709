"""Training plans: properties of the recordings, derived settings, and the experiment file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from omegaconf import OmegaConf
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.config import compose, quote_paths, user_extensions
from audio_lightning.config.automatic import AUTOMATIC
from audio_lightning.core.errors import DataError
from audio_lightning.fit.plan import Plan, make_plan, plan_text, write_plan

SMALL = ["model.channels=[4,8]", "model.hidden_dim=8", "ensemble.num_members=1", "ensemble.inputs=all", "trainer=cpu"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tiny.write_folder(tmp_path_factory.mktemp("folder (ö)"))
    return make_plan(quote_paths(["data=folder", f"data.root={root}", "seed=3", *SMALL]))


def test_it_lists_properties_of_the_recordings(plan: Plan) -> None:
    found = {row.name: row.value for row in plan.properties}
    assert found["recordings"] == "30"
    assert found["sample rates"] == "8,000 Hz (30)"
    assert found["classes"] == "3: high_tone, low_tone, noise"
    assert found["recordings per class"] == "10 each"
    assert found["length"].startswith("median 0.25 s; nine of ten between ")


def test_every_property_refers_to_existing_keys(plan: Plan) -> None:
    assert {key for row in plan.properties for key in row.uses} <= {*AUTOMATIC}


def test_it_has_settings_and_costs(plan: Plan) -> None:
    assert tuple(plan.choices) == AUTOMATIC
    assert plan.step_seconds > 0
    assert plan.steps == 1 * 150
    assert plan.seconds == pytest.approx(150 * plan.step_seconds)
    assert plan.machine.cores >= 1


def test_the_experiment_composes_to_the_plan(plan: Plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path)
    assert path == tmp_path / "experiment/plan.yaml"
    with user_extensions([], tmp_path):
        config = compose(["experiment=plan"])
    assert OmegaConf.to_container(config) == OmegaConf.to_container(plan.config)
    assert f"batch_size: 16  # {plan.choices['data.batch_size'][1]}" in path.read_text()


def test_unreadable_recordings_are_skipped_unless_the_key_is_typed(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path, clips=6)
    (root / "noise" / "broken.wav").write_bytes(b"")
    lines = quote_paths(["data=folder", f"data.root={root}", *SMALL])
    found = make_plan(lines, timed=False)
    assert found.choices["data.bad_recordings"] == ("skip", "1 of 19 recordings cannot be read")
    assert "bad_recordings: skip  # 1 of 19 recordings cannot be read" in plan_text(found)
    typed = make_plan([*lines, "data.bad_recordings=silence"], timed=False)
    assert typed.config.data.bad_recordings == "silence"
    assert "data.bad_recordings" not in typed.choices


def test_the_command_prints_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.write_folder(tmp_path / "data", clips=6)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["plan", "data=folder", f"data.root={root}", *SMALL])
    assert result.exit_code == 0, result.output
    assert "18" in result.stdout
    assert all(key in result.stdout for key in AUTOMATIC)
    *_, written, following = result.stdout.splitlines()
    assert written == "written: plan/experiment/plan.yaml"
    assert following == "next: python train.py --config-dir plan experiment=plan"
    assert (tmp_path / "plan/experiment/plan.yaml").is_file()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "none of the 12 recordings can be read"),
        (lambda path: soundfile.write(path, np.zeros(2000), tiny.RATE), "all 12 recordings are silent"),
    ],
)
def test_recordings_without_any_sound_are_refused(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    root = tiny.write_folder(tmp_path, clips=4)
    for path in root.rglob("*.wav"):
        write(path)
    with pytest.raises(DataError, match=message):
        make_plan(quote_paths(["data=folder", f"data.root={root}", *SMALL]), timed=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data=folder", "data.root=none"], "data.root=none"),
        (["data=folder", "data.root=.", "modle=cnn"], "modle"),
        (["data=folder", "data.root=.", "feature=waveform", "model=cnn", "experiment=null"], "cnn"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_folder(tmp_path, clips=4)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
