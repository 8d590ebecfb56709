"""Searches on a made-up objective; nothing is trained."""

import math
import multiprocessing
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.grid import parse_grid
from audio_lightning.sweeps.search.search import Search
from audio_lightning.sweeps.search.settings import SearchSettings, read_objectives
from audio_lightning.sweeps.search.storage import storage_url

pytest.importorskip("optuna")

ONE = [("validation/accuracy", "maximize")]
TWO = [("validation/accuracy", "maximize"), ("macs", "minimize")]
TYPED = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "model=cnn,lstm", "model.depth=range(2,9,2)", "data=demo")


def search(
    folder: Path, *typed: str, trials: int = 8, objectives=ONE, storage: str | None = None, **settings
) -> Search:
    return Search(
        parse_grid(typed or TYPED),
        settings=SearchSettings(**settings),
        trials=trials,
        storage=storage or f"journal://{folder}/study.log",  # SQLite, the default, takes ten times as long
        study_name="test",
        objectives=objectives,
        folder=folder,
    )


def run(found: Search, accuracy=lambda choices: 1.0) -> list[dict]:
    """Ask and tell until the search ends, and return the choices of each trial."""
    chosen = []
    while asked := found.ask():
        found.tell(asked.number, "done", {"validation/accuracy": accuracy(asked.choices), "macs": len(chosen)})
        chosen.append(asked.choices)
    return chosen


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_proposes_lines_from_the_space_and_repeats_itself(tmp_path, sampler):
    first = search(tmp_path / "a", sampler=sampler, trials=12)
    asked = first.ask()
    assert list(asked.lines) == ["model", "model.depth", "optimizer.lr"]
    assert asked.lines["optimizer.lr"] == f"optimizer.lr={asked.choices['optimizer.lr']!r}"
    first.tell(asked.number, "done", {"validation/accuracy": asked.choices["optimizer.lr"]})
    chosen = [asked.choices, *run(first, lambda choices: choices["optimizer.lr"])]
    assert len(chosen) == 12
    for choices in chosen:
        assert 1e-4 <= choices["optimizer.lr"] <= 1e-1
        assert choices["model"] in ("cnn", "lstm")
        assert choices["model.depth"] in (2, 4, 6, 8)
    assert len({choices["optimizer.lr"] for choices in chosen}) == 12
    again = run(search(tmp_path / "b", sampler=sampler, trials=12), lambda choices: choices["optimizer.lr"])
    assert again == chosen
    assert search(tmp_path / "c", sampler=sampler, seed=1).ask().choices != chosen[0]


@pytest.mark.parametrize(
    ("typed", "allowed"),
    [
        ("k=interval(1,3)", lambda value: isinstance(value, float) and 1 <= value <= 3),
        ("k=int(interval(1,3))", lambda value: value in (1, 2, 3) and isinstance(value, int)),
        ("k=tag(int,log,interval(1,100))", lambda value: 1 <= value <= 100 and isinstance(value, int)),
        ("k=range(0,1,0.1)", lambda value: any(math.isclose(value, step / 10) for step in range(10))),
        ("k=5,1,9", lambda value: value in (5, 1, 9)),
        ("k=1e-3,1e-2,1e-1", lambda value: value in (1e-3, 1e-2, 1e-1)),
        ("k=true,false", lambda value: isinstance(value, bool)),
        ("k=[8,16],[16],null", lambda value: value in ([8, 16], [16], None)),
        ("data.root='/a,b','/c d'", lambda value: value in ("/a,b", "/c d")),
    ],
)
def test_every_kind_of_axis(tmp_path, typed, allowed):
    grid = parse_grid([typed])
    found = run(search(tmp_path, typed, sampler="random", trials=6))
    values = [value for choices in found for value in choices.values()]
    assert all(allowed(value) for value in values)
    assert len({repr(value) for value in values}) > 1
    assert set(grid.axes) | set(grid.spaces) == set(found[0])


def test_an_axis_with_one_value_is_kept_as_it_is(tmp_path):
    asked = search(tmp_path, "k=interval(0,1)", "model=glob(lstm)").ask()
    assert asked.lines["model"] == "model=lstm"
    assert asked.choices["model"] == "lstm"


def test_cmaes_and_hyperband_run(tmp_path):
    found = search(tmp_path, "a=interval(0,1)", "b=range(1,9)", sampler="cmaes", pruner="hyperband")
    assert len(run(found, lambda choices: -choices["a"])) == 8


def test_the_total_is_kept_over_restarts_and_can_be_raised(tmp_path):
    assert len(run(search(tmp_path, trials=3))) == 3
    assert run(search(tmp_path, trials=3)) == []
    assert len(run(search(tmp_path, trials=5))) == 2


def _work(folder: Path, storage: str, trials: int, answers) -> None:
    found = search(folder, sampler="random", trials=trials, storage=storage)
    numbers = []
    while asked := found.ask():
        numbers.append((asked.number, asked.choices["optimizer.lr"]))
        found.tell(asked.number, "done", {"validation/accuracy": 1.0})
    answers.put(numbers)


@pytest.mark.parametrize(("scheme", "folders"), [("sqlite", ("one", "two")), ("journal", ("one", "one"))])
def test_two_processes_share_one_study(tmp_path, scheme, folders):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [
        context.Process(target=_work, args=(tmp_path / name, f"{scheme}:///{tmp_path}/shared.db", 8, answers))
        for name in folders
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    together = sorted(found[0] + found[1])
    assert [number for number, _ in together] == list(range(8))
    assert len({rate for _, rate in together}) == 8


def test_a_surplus_trial_is_not_run_and_does_not_count(tmp_path, monkeypatch):
    found = search(tmp_path, trials=2)
    run(found)
    with monkeypatch.context() as patch:  # as if the others had asked since the trials were counted
        patch.setattr(found._study, "get_trials", lambda **options: [])
        assert found.ask() is None
    assert [trial.state.name for trial in found._study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert search(tmp_path, trials=2).ask() is None
    assert len(run(search(tmp_path, trials=4))) == 2


@pytest.mark.filterwarnings("error")
def test_failures_are_reported_once(tmp_path):
    found = search(tmp_path, trials=6)
    metrics = {"validation/accuracy": 0.5}
    told = [
        ("failed", metrics),
        ("skipped", metrics),
        ("done", {}),
        ("done", {"validation/accuracy": math.nan}),
        ("pruned", {}),
        ("done", metrics),
    ]
    for state, values in told:
        number = found.ask().number
        found.tell(number, state, values)
        found.tell(number, "done", {"validation/accuracy": 0.9})
    assert [trial.state.name for trial in found._study.trials] == ["FAIL"] * 4 + ["PRUNED", "COMPLETE"]
    assert found.best().number == 5
    assert found.best().values == metrics


def test_unfinished_trials_are_resumed_in_their_folder(tmp_path):
    storage = f"sqlite:///{tmp_path}/shared.db"
    first = search(tmp_path / "a", trials=4, storage=storage)
    done, running = first.ask(), first.ask()
    first.tell(done.number, "done", {"validation/accuracy": 0.5})
    first.tell(running.number, "interrupted", {})
    elsewhere = search(tmp_path / "b", trials=4, storage=storage)
    assert elsewhere.unfinished() == []
    (tmp_path / "a").rename(tmp_path / "moved")
    again = search(tmp_path / "moved", trials=4, storage=storage)
    assert again.unfinished() == [running]
    again.tell(running.number, "done", {"validation/accuracy": 0.6})
    assert again.unfinished() == []
    assert again.best().choices == running.choices


def test_a_trial_killed_while_sampling_is_resumed(tmp_path, monkeypatch):
    found = search(tmp_path)

    def killed(trial):
        raise KeyboardInterrupt

    monkeypatch.setattr(found, "_asked", killed)
    with pytest.raises(KeyboardInterrupt):
        found.ask()
    assert [asked.number for asked in search(tmp_path).unfinished()] == [0]


def test_finished_trials_are_found_by_their_hash(tmp_path):
    storage = f"journal:///{tmp_path}/shared.log"
    first = search(tmp_path / "a", trials=3, storage=storage)
    asked = [first.ask() for _ in range(3)]
    for number, name in enumerate(["one", "two", "one"]):
        first.set_hash(asked[number].number, name)
    first.tell(asked[0].number, "done", {"validation/accuracy": 0.5})
    first.tell(asked[2].number, "done", {"validation/accuracy": 0.5})
    assert search(tmp_path / "b", trials=3, storage=storage).finished() == {}
    again = search(tmp_path / "a", trials=3, storage=storage)
    assert again.finished() == {"one": asked[0]}
    again.tell(asked[0].number, "failed", {})
    assert again.best().values == {"validation/accuracy": 0.5}
    again.set_hash(asked[0].number, "other")
    assert again.ask() is None


def test_nsga2_finds_the_front(tmp_path):
    found = search(tmp_path, "a=range(0,5)", "b=range(0,5)", sampler="nsga2", objectives=TWO, trials=40)
    while asked := found.ask():
        a, b = asked.choices["a"], asked.choices["b"]
        found.tell(asked.number, "done", {"validation/accuracy": a - b, "macs": a})
    front = found.pareto()
    assert {trial.values["macs"]: trial.values["validation/accuracy"] for trial in front}.items() >= {(0, 0)}
    assert all(trial.values["macs"] == trial.values["validation/accuracy"] for trial in front)
    assert found.best().values["validation/accuracy"] == max(trial.values["validation/accuracy"] for trial in front)


def test_grid_visits_every_point_once_and_ends(tmp_path):
    typed = ("model=cnn,lstm", "model.depth=0,1,2", "k=0.1,0.2,0.4")
    found = run(search(tmp_path, *typed, sampler="grid", trials=100))
    assert len(found) == 18
    assert len({tuple(choices.values()) for choices in found}) == 18


def test_no_best_trial_without_trials(tmp_path):
    assert search(tmp_path).best() is None


def test_the_default_is_a_database_in_the_folder(tmp_path):
    storage = storage_url(None, tmp_path / "study.db")
    assert len(run(search(tmp_path, trials=2, storage=storage))) == 2
    assert (tmp_path / "study.db").is_file()
    assert search(tmp_path, trials=2, storage=storage).ask() is None
    assert storage_url("mysql://host/name", tmp_path / "study.db") == "mysql://host/name"


@pytest.mark.parametrize(
    ("typed", "settings", "message"),
    [
        (("k=interval(0,1)",), {"objectives": TWO, "pruner": "median"}, "pruner=median.*use sweep.search.pruner=none"),
        (("k=interval(0,1)",), {"objectives": TWO, "sampler": "cmaes"}, "cmaes: supports one objective"),
        (("k=interval(0,1)", "model=cnn,lstm"), {"sampler": "cmaes"}, "model is a list of choices"),
        (("k=interval(0,1)",), {"sampler": "cmaes"}, "two keys"),
        (("k=interval(0,1)",), {"sampler": "grid"}, "k is an interval without steps"),
        (("a=range(400)", "b=range(400)"), {"sampler": "grid"}, "160,000 points"),
        (("k=interval(0,1)",), {"sampler": "tpee"}, "did you mean tpe"),
        (("k=interval(0,1)",), {"pruner": "best"}, "pruners: hyperband, median, none"),
        (("k=interval(1,0)",), {}, "smaller number"),
        (("k=tag(log,interval(0,1))",), {}, "positive numbers"),
        (("k=tag(lgo,interval(0,1))",), {}, "no such tag lgo; did you mean log"),
        (("k=tag(int,interval(0.1,0.9))",), {}, "two integers"),
        (("model=cnn",), {}, "no key varies"),
        (("k=interval(0,1)",), {"storage": "sqlite:////nowhere/at/all.db"}, "storage=sqlite:////nowhere/at/all.db"),
        (("k=interval(0,1)",), {"storage": "journal:///nowhere/study.log"}, "storage=journal:///nowhere/study.log"),
        (("k=interval(0,1)",), {"storage": "nonsense"}, "storage=nonsense: "),
    ],
)
def test_refusals_are_one_line(tmp_path, monkeypatch, typed, settings, message):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ConfigError, match=message) as error:
        search(tmp_path, *typed, **settings)
    assert "\n" not in str(error.value)


def test_a_password_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ConfigError) as error:
        search(tmp_path, storage="unheardof://me:secret@host/name")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("other", [{"objectives": [("validation/loss", "minimize")]}, {"typed": ["k=interval(0,2)"]}])
def test_another_search_is_not_mixed_into_a_study(tmp_path, other):
    search(tmp_path, "k=interval(0,1)")
    with pytest.raises(ConfigError, match=r"study=test: has (objectives|space) .*choose another sweep.name"):
        search(tmp_path, *other.pop("typed", ["k=interval(0,1)"]), **other)


def test_objectives_get_their_direction():
    assert read_objectives(None, "validation/loss") == [("validation/loss", "minimize")]
    assert read_objectives(["validation/f1_macro", "latency", "macs"], "validation/accuracy") == [
        ("validation/f1_macro", "maximize"),
        ("latency_ms", "minimize"),
        ("macs", "minimize"),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["validation/acuracy"], "did you mean validation/accuracy"),
        (["test/accuracy"], "is a test metric; choose by a validation metric"),
        (["macs", "macs"], "named twice"),
    ],
)
def test_errors_of_objectives(names, message):
    with pytest.raises(ConfigError, match=message):
        read_objectives(names, "validation/accuracy")


@pytest.mark.parametrize("package", ["optuna", "cmaes"])
def test_a_missing_package_is_one_line(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package} is not installed; pip install 'audio-lightning\[search\]'"):
        search(tmp_path)


@pytest.mark.parametrize(
    "typed",
    [
        "seed=0,1",
        "data.seed=range(0,4)",
        "data.test_fold=1,2",
        "data.folds=3,5",
        "data.test_fraction=interval(0.1,0.5)",
    ],
)
def test_seeds_and_folds_are_not_tuned(tmp_path, typed):
    with pytest.raises(ConfigError, match=rf"^{typed.partition('=')[0]}: a search would choose the luckiest seed"):
        search(tmp_path, typed, "model=cnn,lstm")


@pytest.fixture
def clock(monkeypatch):
    """Clock that is advanced by hand."""
    now = SimpleNamespace(seconds=1e9)
    stopped = SimpleNamespace(time=lambda: now.seconds, monotonic=lambda: now.seconds)
    monkeypatch.setattr("audio_lightning.sweeps.search.search.time", stopped)
    return now


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_trials_of_a_dead_machine_are_run_by_another(tmp_path, clock, sampler, capsys):
    options = {"storage": f"journal:///{tmp_path}/shared.log", "sampler": sampler, "trials": 4}
    dead, alive = (search(tmp_path / name, "a=range(0,4)", **options) for name in ("dead", "alive"))
    lost = [dead.ask(), dead.ask()]
    assert len(run(alive)) == 2  # the other two may be run where they were asked for
    clock.seconds += 3600
    found = run(alive)
    assert len(found) == 2
    assert alive.ended() == {"done": 4}
    assert capsys.readouterr().out.count("is given up: its machine has not reported for 60 min") == 2
    if sampler == "grid":
        assert sorted(choices["a"] for choices in found) == sorted(asked.choices["a"] for asked in lost)
    dead.beat()
    dead.tell(lost[0].number, "done", {"validation/accuracy": 2.0})  # it was not dead, but too late it is
    assert alive.ended() == {"done": 4}
    assert dead.ask() is None


def test_trials_of_a_machine_with_heartbeats_are_kept(tmp_path, clock):
    storage = f"journal:///{tmp_path}/shared.log"
    busy, idle = (search(tmp_path / name, storage=storage, trials=2) for name in ("busy", "idle"))
    asked = busy.ask()
    assert len(run(idle)) == 1
    for _ in range(10):
        clock.seconds += 600
        busy.beat()
        assert idle.ask() is None
    again = search(tmp_path / "busy", storage=storage, trials=2)  # its own trials are resumed after any pause
    clock.seconds += 7200
    assert again.ask() is None
    assert [found.number for found in again.unfinished()] == [asked.number]
