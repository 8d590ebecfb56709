"""Python API for notebooks and programs: ``import audio_lightning as al``.

There is one function for each command. Overrides are the same strings as on the command line:
``al.train("model=resnet", "trainer.max_epochs=3")``. An error that a command prints is raised as
:class:`audio_lightning.core.errors.UserError`. Heavy libraries are imported when a function first needs them.
"""

from audio_lightning.api.analysis import detect, evaluate_events, explain, export, robustness, suggest
from audio_lightning.api.answers import embed, evaluate, predict
from audio_lightning.api.comparison import Sweep, leaderboard, sweep
from audio_lightning.api.data import compute_features, read_data
from audio_lightning.api.opening import load
from audio_lightning.api.planning import plan
from audio_lightning.api.training import Picture, Run, compose, train

__all__ = [
    "Picture", "Run", "Sweep", "compose", "compute_features", "detect", "embed", "evaluate", "evaluate_events",
    "explain", "export", "leaderboard", "load", "plan", "predict", "read_data", "robustness", "suggest", "sweep",
    "train",
]  # fmt: skip
