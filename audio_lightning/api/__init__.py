"""Everything that the commands do, for notebooks and programs: ``import audio_lightning as al``.

What the commands print as an error is raised here (:class:`audio_lightning.core.errors.UserError`). Choices are given
as they are typed: ``al.train("model=resnet", "trainer.max_epochs=3")``. Nothing heavy is imported before it is needed.
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
