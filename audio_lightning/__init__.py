"""Experiments and sweeps for audio classification on PyTorch Lightning and Hydra.

``import audio_lightning as al`` gives notebooks and programs a function for each command; see
:mod:`audio_lightning.api`:

    run = al.train("model=cnn", "trainer.max_epochs=5")
    run.metrics, run.history, run.plots["curves"]
    al.predict(run, "recordings")
    al.sweep("model=cnn,lstm", "seed=0,1").leaderboard
"""

from typing import TYPE_CHECKING, Any

from audio_lightning.core.cores import let_threads_sleep

if TYPE_CHECKING:
    from audio_lightning.api import (
        Picture,
        Run,
        Sweep,
        compose,
        compute_features,
        detect,
        embed,
        evaluate,
        evaluate_events,
        explain,
        export,
        leaderboard,
        load,
        plan,
        predict,
        read_data,
        robustness,
        suggest,
        sweep,
        train,
    )  # fmt: skip

let_threads_sleep()  # must precede the first import of torch

__version__ = "0.2.0"

# A literal list keeps `import audio_lightning` and `dir()` free of torch, Lightning and pandas.
__all__ = [
    "Picture", "Run", "Sweep", "compose", "compute_features", "detect", "embed", "evaluate", "evaluate_events",
    "explain", "export", "leaderboard", "load", "plan", "predict", "read_data", "robustness", "suggest", "sweep",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from audio_lightning import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
