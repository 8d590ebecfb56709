"""Fused training: several trainings in one process, whose networks are computed together by ``torch.vmap``.

Each training is a thread with its own trainer, data, random generators, optimizer and files
(:mod:`~audio_lightning.training.fusion.turns`). Only the forward and the backward pass of the network in a training
step are joint (:mod:`~audio_lightning.training.fusion.rounds`). The result is therefore that of a separate training,
up to the order of summation.
"""
