"""Everything that a training imports, for the process that trials are forked from."""

import audio_lightning.inference.load
import audio_lightning.report.plots
import audio_lightning.sweeps.trial
import audio_lightning.training.run  # noqa: F401
