"""Networks and callbacks that `ablation.py` compares with."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from audio_lightning.models.panns import PANNs


class DiracPANNs(PANNs):
    """PANNs whose convolutions between as many channels begin as the identity (Zagoruyko and Komodakis 2017)."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels:
                nn.init.dirac_(layer.weight)


class OrthogonalPANNs(PANNs):
    """PANNs with orthogonal convolutions (Saxe et al. 2014)."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, gain=nn.init.calculate_gain("relu"))


class WhitenedPANNs(PANNs):
    """PANNs whose first convolution never changes: it has the cosine patterns of 3x3 patches, as airbench's has theirs.

    On natural spectrograms, cosine patterns are close to the principal components of patches, which airbench (Jordan
    2024, arXiv 2404.00498) computes from the training data.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        first = next(layer for layer in self.modules() if isinstance(layer, nn.Conv2d))
        steps = torch.arange(3.0)
        waves = torch.stack([torch.cos(torch.pi * order * (steps + 0.5) / 3) for order in range(3)])
        patterns = torch.einsum("ax,by->abxy", waves, waves).flatten(0, 1)
        patterns = patterns / patterns.flatten(1).norm(dim=1)[:, None, None]
        both = torch.cat([patterns, -patterns])  # the ReLU keeps one sign
        with torch.no_grad():
            count = min(len(both), first.out_channels)
            first.weight[:count] = both[:count, None]
        first.weight.requires_grad_(False)


class Lookahead(Callback):
    """Lookahead (Zhang et al. 2019, arXiv 1907.08610) as airbench has it: slow weights pull the weights back.

    Every ``every`` steps, the slow weights move towards the weights, and the weights are set to them. The slow weights
    keep ``0.95 ** every`` of themselves at the end of the training, and less before: times the cube of the share of
    the steps that are done.
    """

    def __init__(self, every: int = 5) -> None:
        self.every = every
        self.slow: list[torch.Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.slow = [value.detach().clone() for value in pl_module.parameters()]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: object) -> None:
        step = trainer.global_step
        if step % self.every == 0:
            kept = 0.95**self.every * (step / trainer.estimated_stepping_batches) ** 3
            weights = list(pl_module.parameters())
            torch._foreach_lerp_(self.slow, weights, 1 - kept)
            torch._foreach_copy_(weights, self.slow)


class NoMixupAtTheEnd(Callback):
    """No mixup in the last quarter of the epochs."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch >= 0.75 * trainer.max_epochs:
            for mixing in pl_module.augmentation.pairs:
                mixing.p = 0.0
