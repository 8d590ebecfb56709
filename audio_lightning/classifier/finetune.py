"""Fine-tuning: what keeps the weights that it begins with, for how long, and how fast each layer learns."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from audio_lightning.classifier.optimizers import parameter_kinds
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.models.base import AudioModel

DEFAULTS: dict[str, Any] = {
    "freeze": None,
    "unfreeze_epoch": None,
    "layer_decay": 1.0,
    "backbone_lr_ratio": 1.0,
    "batch_norm": "train",
    "lora": None,
}

BATCH_NORMS = ("train", "frozen")

BATCH_NORM = nn.modules.batchnorm._BatchNorm
"""Layers whose statistics ``batch_norm`` is about."""

ALL = "all"
"""In place of a stage's name: all but the head."""


class Finetuning:
    """Frozen stages of a network, or adapters, and learning rates that decay from its head to its input.

    All parameters belong to the optimizer from the start. Frozen ones get no gradient, and so the optimizer neither
    moves nor decays them; batch normalization and dropout among them work as in evaluation. Whether they are frozen
    follows from the number of the epoch alone, so that a resumed training goes on as it would have.

    Of a network with adapters (:func:`audio_lightning.classifier.lora.add_adapters`), these and the head alone train.
    Each adapter belongs to the stage of its layer. Dropout works as in training there.

    Args:
        config: the node ``finetune`` of a configuration; None, as in those that have none: everything trains alike.
        network: whose stages (:meth:`AudioModel.stages`) are meant.
        front_end: what comes before it; parameters of it are taken for parts of the first stage.

    Raises:
        ConfigError: a value that cannot be used, or a stage that the network does not have.
    """

    def __init__(self, config: Mapping[str, Any] | None, network: AudioModel, front_end: nn.Module) -> None:
        settings = DEFAULTS | dict(config or {})
        _check(settings)
        self.unfreeze_epoch: int | None = settings["unfreeze_epoch"]
        self.layer_decay = float(settings["layer_decay"])
        self.backbone_lr_ratio = float(settings["backbone_lr_ratio"])
        self.freezes_batch_norm = settings["batch_norm"] == "frozen"
        self.network = network
        self.front_end = front_end
        self.stages = network.stages()
        next(iter(self.stages.values())).extend(front_end.parameters())
        # While parameters have their shapes, which FSDP flattens.
        self.kinds = parameter_kinds(network, front_end)
        names = list(self.stages)[: _number_frozen(settings["freeze"], network)]
        self.frozen = {parameter for name in names for parameter in self.stages[name]}
        if settings["lora"] is not None:
            front_end.requires_grad_(False)
        # An architecture may have frozen some of them for good.
        self.held = [parameter for name in names for parameter in self.stages[name] if parameter.requires_grad]
        self._without_gradient: list[nn.Parameter] = []
        if self.unfreeze_epoch is None:
            self._require_gradients(False)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What an optimizer is built from, from the head to the input; ``decay`` is for :meth:`decay_rates`."""
        if not self._apart:
            return [{"params": [*self.network.parameters(), *self.front_end.parameters()], "decay": 1.0}]
        published = set(getattr(self.network, "backbone", self.network).parameters()) - set(
            self.network.head.parameters()
        )
        return [
            {
                "params": stage,
                "decay": self.layer_decay**depth * (self.backbone_lr_ratio if not published.isdisjoint(stage) else 1.0),
            }
            for depth, stage in enumerate(reversed(self.stages.values()))
        ]

    @property
    def _apart(self) -> bool:
        """Whether stages have learning rates of their own."""
        return (self.layer_decay, self.backbone_lr_ratio) != (1, 1)

    def stage_of(self, group: Mapping[str, Any]) -> str | None:
        """The stage that a group of an optimizer's parameters is of; None where groups are not of single stages."""
        owners = (name for name, stage in self.stages.items() if any(group["params"][0] is one for one in stage))
        return next(owners, None) if self._apart else None

    @staticmethod
    def decay_rates(optimizer: Optimizer) -> None:
        """Lower the learning rates of an optimizer that has just been built; the first group, the head, keeps it."""
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("decay")

    def start_epoch(self, epoch: int, *, processes: int) -> None:
        """Freeze what is frozen in an epoch, and let everything else train.

        Args:
            epoch: its number, from 0.
            processes: that train together. They average the gradients of those parameters that require one when the
                training starts, so where some are frozen for a time, these go on requiring one, which
                :meth:`drop_gradients` throws away.
        """
        if not self.frozen and not self.freezes_batch_norm:
            return
        freeze = self.unfreeze_epoch is None or epoch < self.unfreeze_epoch
        averaged = processes > 1 and self.unfreeze_epoch is not None
        self._require_gradients(averaged or not freeze)
        self._without_gradient = self.held if averaged and freeze else []
        self.network.train()
        modules = list(self.network.modules()) if freeze else []
        owned = [set(module.parameters()) for module in modules]
        last = max((place for place, found in enumerate(owned) if found and found <= self.frozen), default=-1)
        for place, (module, parameters) in enumerate(zip(modules, owned)):
            # One without parameters, such as a dropout, is among the frozen where some come after it.
            if parameters <= self.frozen and (parameters or place < last):
                module.eval()
        for module in self._batch_norms():
            module.eval()

    def _batch_norms(self) -> Iterator[nn.Module]:
        """Batch normalizations that keep the statistics that they begin with."""
        inside = {id(module) for module in self.network.head.modules()}
        for module in self.network.modules() if self.freezes_batch_norm else ():
            if isinstance(module, BATCH_NORM) and module.affine and id(module) not in inside:
                yield module

    def drop_gradients(self) -> None:
        """Throw away gradients that had to be computed; to be called after each backward pass."""
        for parameter in self._without_gradient:
            parameter.grad = None

    def __str__(self) -> str:
        """Number of the network's parameters, and how many of them are frozen."""
        sizes = {parameter: parameter.numel() for parameter in self.network.parameters()}
        always = sum(size for parameter, size in sizes.items() if not parameter.requires_grad)
        first = sum(sizes.get(parameter, 0) for parameter in self.held if parameter.requires_grad)
        return (
            f"{sum(sizes.values()):,} parameters"
            + (f", {always:,} of them frozen" if always else "")
            + (f", {first:,} of them frozen until epoch {self.unfreeze_epoch} has ended" if first else "")
        )

    def _require_gradients(self, required: bool) -> None:
        for parameter in self.held:
            parameter.requires_grad_(required)


def _check(settings: Mapping[str, Any]) -> None:
    if unknown := settings.keys() - DEFAULTS.keys():
        name = min(unknown)
        raise ConfigError(f"there is no key finetune.{name}" + did_you_mean(name, DEFAULTS, listing="finetune has"))
    for name in ("freeze", "unfreeze_epoch"):
        if settings["lora"] is not None and settings[name] is not None:
            raise ConfigError(
                f"finetune.{name}={settings[name]}: with finetune.lora, all weights but adapters and head are frozen, "
                f"in all epochs; use finetune.{name}=null"
            )
    epoch = settings["unfreeze_epoch"]
    if epoch is not None:
        if not isinstance(epoch, int) or epoch < 1 or isinstance(epoch, bool):
            raise ConfigError(
                f"finetune.unfreeze_epoch={epoch}: expected a whole number of epochs, at least 1, or null"
            )
        if settings["freeze"] is None:
            raise ConfigError(
                f"finetune.unfreeze_epoch={epoch}: nothing is frozen; give finetune.freeze=STAGE or finetune.freeze=all"
            )
    for name in ("layer_decay", "backbone_lr_ratio"):
        ratio = settings[name]
        if not isinstance(ratio, (int, float)) or isinstance(ratio, bool) or not 0 < ratio <= 1:
            raise ConfigError(f"finetune.{name}={ratio}: expected more than 0.0 and at most 1.0")
    if settings["batch_norm"] not in BATCH_NORMS:
        raise ConfigError(f"finetune.batch_norm={settings['batch_norm']}: expected one of {', '.join(BATCH_NORMS)}")


def _number_frozen(freeze: Any, network: AudioModel) -> int:
    """How many stages are frozen where ``freeze`` names the last one, a module that it is the last of, or a share."""
    names = list(network.stages())
    if freeze is None:
        return 0
    if freeze == ALL:
        return len(names) - 1
    if isinstance(freeze, float) and 0 < freeze < 1:
        return min(len(names) - 1, max(1, round(freeze * (len(names) - 1))))
    wanted = str(freeze).removeprefix("backbone.")
    inside = [number for number, name in enumerate(names, start=1) if f"{name}.".startswith(f"{wanted}.")]
    model = network.title.lower()
    if not inside:
        modules = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
        raise ConfigError(
            f"finetune.freeze={freeze}: {model} has no such stage{did_you_mean(wanted, modules)} "
            f"(from the input on: {', '.join(names)})"
        )
    if inside[-1] == len(names):
        raise ConfigError(f"finetune.freeze={freeze} leaves nothing of {model} to train: {ALL} is all but the head")
    return inside[-1]
