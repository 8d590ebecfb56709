"""Figures of a run against its files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audio_lightning.figures.run_figures import (
    average_precision,
    confusion_matrix,
    curves,
    draw_run,
    reliability_diagram,
    run_title,
)


def predictions(classes: int, clips: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = np.array([f"class_{number}" for number in range(classes)])
    table = pd.DataFrame({"label": rng.choice(names, clips), "predicted": rng.choice(names, clips)})
    return table.assign(path="x.wav", **{f"probability {name}": 0.5 for name in names})


@pytest.mark.parametrize("classes", [2, 10, 50])
def test_confusion_matrix(classes: int) -> None:
    table = predictions(classes, 200)
    names = [f"class_{number}" for number in range(classes)]
    axes = confusion_matrix(table, names).axes[0]
    shares = np.asarray(axes.images[0].get_array())
    expected = pd.crosstab(table["label"], table["predicted"], normalize="index").reindex(
        index=names, columns=names, fill_value=0
    )
    np.testing.assert_allclose(shares, expected)
    if classes <= 10:
        numbers = {(text.get_position()[1], text.get_position()[0]): int(text.get_text()) for text in axes.texts}
        assert sum(numbers.values()) == 200
        first = ((table["label"] == "class_0") & (table["predicted"] == "class_1")).sum()
        assert numbers[(0, 1)] == first
    assert f"accuracy {(table['label'] == table['predicted']).mean():.3f}" in axes.get_title()


def test_curves_show_the_history() -> None:
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "learning_rate": [0.1, 0.2, 0.1],
            "train/loss": [3.0, 2.0, 1.0],
            "train/accuracy": [0.1, 0.2, 0.3],
            "validation/loss": [3.0, 2.5, 2.6],
            "validation/accuracy": [0.2, 0.6, 0.5],
        }
    )
    figure = curves(history, best_epoch=2)
    loss, accuracy, rate = figure.axes
    assert [text.get_text() for text in figure.legends[0].texts] == ["train", "validation", "best epoch (2)"]
    assert {line.get_label(): list(line.get_ydata()) for line in loss.lines[:2]} == {
        "train": [3.0, 2.0, 1.0],
        "validation": [3.0, 2.5, 2.6],
    }
    for axes in (loss, accuracy):
        marked = axes.lines[-1]
        assert (marked.get_label(), list(marked.get_xdata())) == ("best epoch (2)", [2, 2])
    assert list(rate.lines[0].get_ydata()) == [0.1, 0.2, 0.1]


def test_curves_of_multilabel_runs_show_average_precision() -> None:
    name = "mean_average_precision"
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "learning_rate": [0.1, 0.1, 0.1],
            f"train/{name}": [0.2, 0.3, 0.4],
            f"validation/{name}": [np.nan, 0.6, 0.5],
            "validation/accuracy": [0.1, 0.1, 0.2],
        }
    )
    _, precision, _ = curves(history).axes
    assert precision.get_title() == "Mean average precision"
    lines = {line.get_label(): list(line.get_ydata()) for line in precision.lines}
    assert lines["train"] == [0.2, 0.3, 0.4]
    assert lines["validation"][1:] == [0.6, 0.5]
    assert set(lines) == {"train", "validation"}  # the best epoch is unknown


@pytest.mark.parametrize("classes", [2, 527])
def test_average_precision_is_drawn_in_descending_order(classes: int) -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, classes))
    table = pd.DataFrame(
        {
            "class": [f"class_{number}" for number in range(classes)],
            "average_precision": scores,
            "clips": range(1, classes + 1),
        }
    )
    table.loc[classes] = ["never there", np.nan, 0]
    axes = average_precision(table).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [*sorted(scores, reverse=True), 0]
    best = int(scores.argmax())
    assert axes.get_yticklabels()[0].get_text() == f"class {best}"
    assert axes.texts[0].get_text() == f"{best + 1} clip" + "s" * (best > 0)
    assert axes.texts[-1].get_text() == "0 clips"
    assert axes.get_title() == f"mean {scores.mean():.3f} over {classes} classes"
    assert axes.yaxis_inverted()


@pytest.mark.parametrize(
    ("columns", "pictures"),
    [
        ({}, ["confusion_matrix.png", "reliability.png"]),
        ({"average_precision": [0.5, "nan", 0.25]}, ["average_precision.png"]),
    ],
    ids=["one label", "several labels"],
)
def test_a_run_is_drawn_from_its_files(tmp_path: Path, columns: dict[str, list[object]], pictures: list[str]) -> None:
    names = {"class_0": "none", "class_1": "NA", "class_2": "null"}
    predictions(3, 20).replace(names).to_csv(tmp_path / "predictions.csv", index=False)
    per_class = pd.DataFrame({"class": names.values(), **columns, "f1": 0.5, "clips": [9, 0, 11]})
    per_class.to_csv(tmp_path / "per_class.csv", index=False)
    pd.DataFrame({"epoch": [1], "learning_rate": [0.1], "train/loss": [1.0]}).to_csv(
        tmp_path / "history.csv", index=False
    )
    paths = draw_run(tmp_path)
    assert [path.name for path in paths] == ["curves.png", *pictures]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_title_names_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first_$1$"
    folder.mkdir(parents=True)
    assert run_title(folder) == r"runs/first \$1\$"
    targets = {"model": "audio_lightning.models.cnn.CNN", "feature": "audio_lightning.features.log_mel.LogMel"}
    config = {name: {"_target_": target} for name, target in targets.items()} | {"seed": 3}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert run_title(folder) == r"CNN, LogMel, seed 3 - runs/first \$1\$"
    (folder / "config.yaml").write_text("- a\n- b\n")
    assert run_title(folder) == r"runs/first \$1\$"


def test_reliability_diagram() -> None:
    shares = np.repeat([0.55, 0.95], 20)
    table = pd.DataFrame({"probability a": shares, "probability b": 1 - shares, "predicted": "a"})
    table["label"] = ["a", "b"] * 10 + ["a"] * 19 + ["b"]
    upper, lower = reliability_diagram(table).axes
    line = {line.get_label(): line for line in upper.lines}["these predictions"]
    np.testing.assert_allclose(line.get_xydata(), [[0.55, 0.5], [0.95, 0.95]])
    assert [bar.get_height() for bar in lower.patches] == [20, 20]
