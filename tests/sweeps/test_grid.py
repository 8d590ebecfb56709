"""Parsing of overrides, and expansion to combinations."""

from pathlib import Path

import pytest

from audio_lightning.config import choices, compose, expand_multirun
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.grid import combinations, parse_grid, values_of


def cells(overrides: list[str], **options) -> list[dict]:
    return [values_of(found) for found in combinations(parse_grid(overrides), **options)]


@pytest.mark.parametrize(
    "typed",
    [
        "model=cnn,lstm feature=logmel,mfcc",
        "model=cnn seed=0,1 feature=logmel",
        "optimizer.lr=1e-3,1E-5,0.1",
        "seed=range(4)",
        "seed=range(1,8,step=3) model=cnn,lstm",
        "seed=range(8,1,-3)",
        "model.dropout=range(0,1,0.25)",
        "seed=int(range(0.0,3.0))",
        "seed=choice(3,1,2)",
        "seed=sort(3,1,2)",
        "seed=sort(3,1,2,reverse=true)",
        "seed=sort(range(3,0,-1))",
        "seed=tag(hello,choice(1,2))",
        "seed=int(1.5,2.5)",
        "model.channels=[8,16],[16]",
        "data.labels='a,b',c",
        'data.labels="it\'s",null,true',
        "trainer.max_epochs=${seed},3",
        "+callbacks.mine=a,b",
        "seed=0,1 model=cnn,lstm seed=2,3",
        "seed=0,1 model=cnn,lstm seed=5",
    ],
)
def test_expands_as_hydra_does(typed):
    grid = parse_grid(typed.split())
    found = [sorted([*grid.fixed, *cell.values()]) for cell in combinations(grid)]
    assert [[line.replace("\\", "") for line in job] for job in found] == [
        [line.replace("\\", "") for line in sorted(job)] for job in expand_multirun(typed.split())
    ]


def test_typed_order_is_kept_and_the_first_axis_is_slowest():
    grid = parse_grid(["seed=0,1", "trainer.max_epochs=3", "model=cnn,lstm", "data=demo"])
    assert grid.fixed == ["trainer.max_epochs=3", "data=demo"]
    assert grid.axes == {"seed": ["seed=0", "seed=1"], "model": ["model=cnn", "model=lstm"]}
    assert [list(cell.values()) for cell in combinations(grid)] == [
        ["seed=0", "model=cnn"],
        ["seed=0", "model=lstm"],
        ["seed=1", "model=cnn"],
        ["seed=1", "model=lstm"],
    ]


def test_without_an_axis_there_is_one_combination():
    assert cells(["model=cnn"]) == [{}]


def test_glob_takes_the_choices_of_a_group_without_building_blocks():
    assert [cell["data"] for cell in cells(["data=glob(*)"])] == choices("data")
    assert [cell["model"] for cell in cells(["model=glob([cnn*,lstm],exclude=*_deep)"])] == ["cnn", "lstm"]


def test_shuffle_is_reproducible():
    typed = ["seed=shuffle(range(20))"]
    seeds = [cell["seed"] for cell in cells(typed)]
    assert sorted(seeds) == list(range(20))
    assert seeds != sorted(seeds)
    assert seeds == [cell["seed"] for cell in cells(typed)]


def test_intervals_are_kept_for_a_search():
    grid = parse_grid(["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model=cnn,lstm"])
    assert grid.spaces["optimizer.lr"].value().tags == {"log"}
    assert list(grid.axes) == ["model"]


def test_duplicates_collapse():
    assert cells(["optimizer.lr=1e-3,0.001,0.01"]) == [{"optimizer.lr": 0.001}, {"optimizer.lr": 0.01}]
    assert cells(["model=cnn,'cnn'"]) == [{"model": "cnn"}]


def test_a_deleted_key_stays_deleted():
    assert parse_grid(["~callbacks.early_stopping", "seed=0,1"]).fixed == ["~callbacks.early_stopping"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("data.root=~/x,/a(1)/b", ["{home}/x", "/a(1)/b"]),
        ("data.root='~/x','/a,b'", ["{home}/x", "/a,b"]),
        ("data.root=choice(/a,/b)", ["/a", "/b"]),
        ("data.root=/ö;x,/b=c", ["/ö;x", "/b=c"]),
    ],
)
def test_paths_need_no_quotes(typed, expected):
    found = combinations(parse_grid([typed]))
    roots = [compose(["data=folder", *cell.values()]).data.root for cell in found]
    assert roots == [text.format(home=Path.home()) for text in expected]


def test_an_existing_path_with_a_comma_is_one_value(tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    grid = parse_grid([f"data.root={folder}"])
    assert grid.axes == {}
    assert compose(["data=folder", *grid.fixed]).data.root == str(folder)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("seed=range(3,1)", "the range is empty"),
        ("seed=range(0,1,0)", "step of a range"),
        ("seed=range(1000000000)", "100,000 values"),
        ("seed=shuffle(range(1000000000))", "100,000 values"),
        ("model=glob(nothing*)", "no model matches .*lstm"),
        ("seed=glob(*)", "seed is not a group"),
        ("seed=choice(", "cannot read the override"),
        ("seed", "write KEY=VALUE"),
    ],
)
def test_errors_of_an_axis(typed, message):
    with pytest.raises(ConfigError, match=message) as error:
        parse_grid([typed])
    assert "\n" not in str(error.value)


def test_too_many_combinations_are_refused():
    with pytest.raises(ConfigError, match=r"1,000,000 combinations \(seed 1000 x trainer.max_epochs 1000\)"):
        cells(["seed=range(1000)", "trainer.max_epochs=range(1000)"])


def test_zipped_axes_advance_together_in_the_place_of_the_first():
    found = cells(["model=cnn,lstm", "seed=0,1", "feature=logmel,mfcc"], zip_=[["feature", "model"]])
    assert [tuple(cell.values()) for cell in found] == [
        ("cnn", 0, "logmel"),
        ("cnn", 1, "logmel"),
        ("lstm", 0, "mfcc"),
        ("lstm", 1, "mfcc"),
    ]
    assert list(found[0]) == ["model", "seed", "feature"]


def test_zipped_axes_may_repeat_a_value():
    found = cells(["model=cnn,cnn,lstm", "seed=0,1,0"], zip_=[["model", "seed"]])
    assert [tuple(cell.values()) for cell in found] == [("cnn", 0), ("cnn", 1), ("lstm", 0)]


@pytest.mark.parametrize(
    ("zip_", "message"),
    [
        ([["model", "seed"]], "model 2 and seed 3"),
        ([["model", "sed"]], "did you mean seed"),
        ([["model", "data"]], "data has no list of values"),
        ([["model", "optimizer.lr"]], "optimizer.lr has no list of values"),
        ([["model", "feature"], ["feature", "seed"]], "feature is named twice"),
        (["model", "feature"], "expected lists of keys"),
    ],
)
def test_errors_of_zip(zip_, message):
    typed = ["model=cnn,lstm", "feature=logmel,mfcc", "seed=0,1,2", "data=demo", "optimizer.lr=interval(0,1)"]
    with pytest.raises(ConfigError, match=message):
        cells(typed, zip_=zip_)


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"model": "lstm"}, 4),
        ({"model": "lstm", "optimizer.lr": 1e-3}, 6),
        ({"model": "lstm", "optimizer.lr": "1e-3"}, 6),
        ({"optimizer.lr": [0.001, 0.1]}, 4),
        ({"seed": 1.0}, 4),
        ({"seed": True}, 8),
        ({"model": "lstm", "data": "demo"}, 4),
        ({"model": "lstm", "data": "folder"}, 8),
        ({"model": None}, 8),
    ],
)
def test_excludes_by_value(rule, left):
    typed = ["model=cnn,lstm", "optimizer.lr=0.001,0.01", "seed=0,1", "data=demo"]
    found = cells(typed, exclude=[rule])
    assert len(found) == left


def test_any_rule_excludes_and_lists_are_values_too():
    assert cells(["seed=0,1,2,3"], exclude=[{"seed": 0}, {"seed": [2, 3]}]) == [{"seed": 1}]
    assert cells(["model.channels=[8,16],[16]"], exclude=[{"model.channels": [8, 16]}]) == [{"model.channels": [16]}]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"modle": "cnn"}, "did you mean model"),
        ({}, "expected keys and values"),
        ("model", "expected keys and values"),
        ({"model": ["cnn", "lstm"]}, "excludes all 2 combinations"),
    ],
)
def test_errors_of_exclude(rule, message):
    with pytest.raises(ConfigError, match=message):
        cells(["model=cnn,lstm"], exclude=[rule])
