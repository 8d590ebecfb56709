"""Imports of a training, preloaded by the forkserver of trials."""
# ruff: noqa: F401, E402 - imported for preloading only

import gc

gc.disable()  # nothing is freed during the imports, and searching for garbage takes a fifth of their time

import pkgutil
from importlib import import_module

import lightning.pytorch
import matplotlib.backends.backend_agg
import torch
import torch._dynamo  # imported by the first optimizer, which takes a second
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
Image.preinit()  # loads the image formats, otherwise loaded when the first image is written
gc.freeze()  # garbage collection in a trial would otherwise touch, and so copy, the shared memory
gc.enable()
