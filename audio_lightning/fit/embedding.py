"""Embeddings of pretrained networks, computed once before the trainings of a fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from audio_lightning.fit.survey import Survey
from audio_lightning.fit.timing import Untimed
from audio_lightning.sweeps.executors.forkserver import call
from audio_lightning.sweeps.progress import duration

MOST = 0.35
"""Maximum share of the remaining time for embedding."""


def embed_frozen(found: Survey, candidates: Mapping[str, Untimed], seconds: float) -> Survey:
    """Embed all clips for the candidates that train on embeddings of pretrained networks.

    Args:
        found: survey with prediction times.
        candidates: possible candidates.
        seconds: remaining seconds of the budget.

    Returns:
        The survey, in which candidates whose embedding would take too long are marked as impossible.
    """
    surveyed = dict(found.candidates)
    for name, one in candidates.items():
        needed = found.clips * surveyed[name].predict_seconds
        if one.frozen and needed > MOST * seconds:
            why = f"embedding the clips would take about {duration(needed)} of {duration(seconds)}"
            surveyed[name] = replace(surveyed[name], impossible=why)
        elif one.frozen:
            call(embed_all, one.config)
    return replace(found, candidates=surveyed)


def embed_all(config: dict[str, Any]) -> None:
    """Embed all clips of the data of a configuration, unless they are cached. Call it in a separate process."""
    import torch
    from omegaconf import OmegaConf

    from audio_lightning.classifier.factory import build_front_end
    from audio_lightning.core.cores import share_threads
    from audio_lightning.models.pretrained.embedding import Embedding
    from audio_lightning.planning.settle import build_source
    from audio_lightning.training.decoding_progress import decoding_shown
    from audio_lightning.training.embed_once import embed_once

    share_threads(1)
    datamodule = build_source(OmegaConf.create(config))
    with decoding_shown(datamodule):
        datamodule.setup()
    front_end = build_front_end(config, datamodule.task)
    assert isinstance(front_end, Embedding)
    if torch.cuda.is_available():
        front_end.cuda()
    embed_once(front_end, datamodule, fit=False)
