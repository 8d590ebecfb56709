"""Fine-tuning: frozen stages, their duration, and learning rates of layers."""

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
"""Layers whose statistics ``batch_norm`` concerns."""

ALL = "all"
"""Value in place of a stage's name: all stages except the head."""


class Finetuning:
    """Frozen stages or adapters of a network, and learning rates that decay from its head to its input.

    All parameters belong to the optimizer from the start. Frozen ones get no gradient, so the optimizer does not change
    them; their batch normalization and dropout are in evaluation mode. Whether they are frozen depends only on the
    number of the epoch, so that a resumed training continues identically.

    In a network with adapters (:func:`audio_lightning.classifier.lora.add_adapters`), only these and the head are
    trained. Each adapter belongs to the stage of its layer. Dropout is in training mode there.

    Args:
        config: the node ``finetune`` of a configuration; None, or one without keys, trains all parameters alike.
        network: network with the stages (:meth:`AudioModel.stages`).
        front_end: front end; its parameters belong to the first stage.

    Raises:
        ConfigError: an invalid value, or a stage that the network does not have.
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
        # Determined before FSDP flattens the parameters, which loses their shapes.
        self.kinds = parameter_kinds(network, front_end, head=network.head)
        names = list(self.stages)[: _number_frozen(settings["freeze"], network)]
        self.frozen = {parameter for name in names for parameter in self.stages[name]}
        if settings["lora"] is not None:
            front_end.requires_grad_(False)
        # The architecture itself may have frozen some of them permanently.
        self.held = [parameter for name in names for parameter in self.stages[name] if parameter.requires_grad]
        self._without_gradient: list[nn.Parameter] = []
        if self.unfreeze_epoch is None:
            self._require_gradients(False)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return parameter groups for an optimizer, from head to input; :meth:`decay_rates` uses ``decay``."""
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
        """Whether stages have different learning rates."""
        return (self.layer_decay, self.backbone_lr_ratio) != (1, 1)

    def stage_of(self, group: Mapping[str, Any]) -> str | None:
        """Return the stage of an optimizer's parameter group; None if groups are not stages."""
        owners = (name for name, stage in self.stages.items() if any(group["params"][0] is one for one in stage))
        return next(owners, None) if self._apart else None

    @staticmethod
    def decay_rates(optimizer: Optimizer) -> None:
        """Apply the decay to the learning rates of a new optimizer; the first group, the head, keeps its rate."""
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("decay")

    def start_epoch(self, epoch: int, *, processes: int) -> None:
        """Freeze and unfreeze parameters for an epoch.

        Args:
            epoch: number of the epoch, from 0.
            processes: number of processes that train together. They average the gradients of the parameters that
                require one when the training starts. Temporarily frozen parameters must therefore still require a
                gradient, which :meth:`drop_gradients` discards.
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
            # A module without parameters, such as dropout, is frozen if frozen modules follow it.
            if parameters <= self.frozen and (parameters or place < last):
                module.eval()
        for module in self._batch_norms():
            module.eval()

    def _batch_norms(self) -> Iterator[nn.Module]:
        """Yield batch normalizations that keep their initial statistics."""
        inside = {id(module) for module in self.network.head.modules()}
        for module in self.network.modules() if self.freezes_batch_norm else ():
            if isinstance(module, BATCH_NORM) and module.affine and id(module) not in inside:
                yield module

    def drop_gradients(self) -> None:
        """Discard gradients of frozen parameters; call it after each backward pass."""
        for parameter in self._without_gradient:
            parameter.grad = None

    def __str__(self) -> str:
        """Describe the number of the network's parameters, and how many of them are frozen."""
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
    """Return the number of frozen stages.

    Args:
        freeze: name of the last frozen stage or of a module that contains it, a fraction, :data:`ALL`, or None.
        network: network with the stages.

    Raises:
        ConfigError: no such stage, or no stage would be trained.
    """
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
        raise ConfigError(
            f"finetune.freeze={freeze} leaves nothing of {model} to train; {ALL} freezes all except the head"
        )
    return inside[-1]
