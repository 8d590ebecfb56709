"""Everything that a training imports, for the process that trials are forked from."""
# ruff: noqa: F401, E402 - to import them is all that they are for

import gc

gc.disable()  # nothing of what is made here is ever thrown away, and looking for such takes a fifth of the time

import pkgutil
from importlib import import_module

import lightning.pytorch
import matplotlib.backends.backend_agg
import torch
import torch._dynamo  # the first optimizer asks for it, and it takes a second
import torch.utils.serialization.config
import torchmetrics.classification
from PIL import Image

import audio_lightning.augment
import audio_lightning.data
import audio_lightning.features
import audio_lightning.figures.run_figures
import audio_lightning.inference.load
import audio_lightning.loggers.loggers
import audio_lightning.models
import audio_lightning.report.sweep_page
import audio_lightning.sweeps.latency
import audio_lightning.sweeps.trial
import audio_lightning.training.run

for package in (audio_lightning.augment, audio_lightning.data, audio_lightning.features, audio_lightning.models):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(module.name)
Image.preinit()  # the formats of pictures are found when the first one is written
gc.freeze()  # nor do trials look for it there, whereby they would make a copy of the memory that they share
gc.enable()
