"""Extra trials in addition to a grid."""

from pathlib import Path

import pandas as pd
import pytest
from sweeping import arguments, states, sweep

from audio_lightning.cli.sweep import main
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.extra_trials import extra_trials
from audio_lightning.sweeps.grid import parse_grid
from audio_lightning.sweeps.sweep import parse_sweep_args, plan_sweep

GRID = ["model=cnn,lstm", "seed=0,1", "data.root=a,b", "data.table=x,y"]


def test_an_extra_trial_is_repeated_with_seeds_and_data_alone() -> None:
    grid = parse_grid(["model=cnn,lstm", "seed=0,1", "data.test_fold=1,2"])
    found = extra_trials(["experiment=auto optimizer.lr=0.1"], grid, [])
    repetitions = [(seed, fold) for seed in (0, 1) for fold in (1, 2)]
    assert [list(trial.values()) for trial in found] == [
        ["experiment=auto", "optimizer.lr=0.1", f"seed={seed}", f"data.test_fold={fold}"] for seed, fold in repetitions
    ]


def test_axes_that_advance_together_do_so_for_an_extra_trial() -> None:
    zipped = [["model", "data.root", "data.table"]]
    found = extra_trials(["experiment=auto"], parse_grid(GRID), [], zip_=zipped)
    places = [(trial["data.root"], trial["data.table"]) for trial in found if trial["seed"] == "seed=0"]
    assert places == [("data.root='a'", "data.table='x'"), ("data.root='b'", "data.table='y'")]


def test_command_line_overrides_take_precedence_over_extra_trials() -> None:
    found = extra_trials(["experiment=auto model=cnn"], parse_grid([]), ["model=lstm", "trainer.max_epochs=1"])
    assert found == [{"experiment": "experiment=auto"}]
    assert extra_trials(["experiment=auto"], parse_grid([]), ["experiment=ast"]) == [{"experiment": "experiment=ast"}]


@pytest.mark.parametrize("line", ["model=cnn,lstm", "model", "'model=cnn", ""])
def test_an_extra_trial_that_cannot_be_read_is_one_line(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.extra_trials: [^\n]+$"):
        extra_trials([line], parse_grid([]), [])


def test_the_default_sweep_has_the_best_recipe_among_its_trials(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    """As the recipe is, and not with the few epochs of the grid; on the split of the data."""
    data = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", f"sweep.dir={tmp_path}", "data.clip_seconds=1.0"]
    plan = plan_sweep(parse_sweep_args(data))
    (best,) = [trial for trial in plan.trials if trial.groups.get("experiment") == "auto"]
    others = [trial for trial in plan.trials if trial is not best]
    assert best.preflight.impossible is None
    assert (best.config.trainer.max_epochs, best.config.ensemble.num_members) == (150, 2)
    assert {trial.config.trainer.max_epochs for trial in others} == {8}
    assert {trial.config.data.split for trial in plan.trials} == {"folds"}
    assert plan.axes == ["feature", "model", "optimizer", "experiment"]


def test_a_sweep_with_an_extra_trial_is_compared_and_resumed(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = "sweep.extra_trials=['experiment=sincnet trainer.max_epochs=1']"
    line = ["model=cnn,lstm", recipe, "sweep.plots=none"]
    of_others = ("feature", "model.channels", "model.hidden_dim")
    settings = [word for word in arguments(tiny_urbansound8k, tmp_path, *line) if not word.startswith(of_others)]
    assert main(settings) == 0
    assert sorted(states(tmp_path)) == ["cnn", "lstm", "sincnet"]
    assert "done" in states(tmp_path).values()
    names = set(pd.read_csv(tmp_path / "leaderboard.csv")["name"])
    assert names == {"sincnet sincnet", "cnn", "lstm"}  # the network, and first the recipe
    assert main(settings) == 0
    assert "nothing was left to do" in capsys.readouterr().out


def test_a_search_has_no_extra_trials(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = "sweep.extra_trials=['experiment=auto']"
    assert sweep(tiny_urbansound8k, tmp_path, "sweep=search", "model=cnn,lstm", extra) == 2
    assert "sweep.extra_trials: works with grids only" in capsys.readouterr().err
