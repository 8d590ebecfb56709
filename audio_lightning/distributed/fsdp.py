"""Fully sharded data parallel (FSDP): parameters, gradients and optimizer state are divided among the devices."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
    OptimStateKeyType,
    StateDictType,
)
from torchmetrics import Metric


class ShardedStrategy(FSDPStrategy):
    """Strategy of fully sharded data parallel (FSDP) training, chosen by ``trainer.strategy=fsdp``.

    A checkpoint is one file with the whole network, gathered on the first process, as with any other strategy.
    The steps after the training (choosing thresholds, testing) run the whole network on every device, as every later
    use of the checkpoint does. Mixed precision is autocast alone: Lightning's own would also cast the waveforms and
    filters of the front end to 16 bits. Lightning refuses FSDP on CPUs; this strategy allows it, for tests.
    """

    def __init__(self) -> None:
        super().__init__(state_dict_type="full")

    @property
    def mixed_precision_config(self) -> None:
        """None: parameters, buffers and gradients stay in float32."""
        return None

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Gather the whole network for a checkpoint."""
        assert self.model is not None
        with self._whole():
            return self.model.state_dict()

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Gather the whole state of an optimizer for a checkpoint, in the format of an unsharded training."""
        assert self.model is not None
        optimizer = getattr(optimizer, "_optimizer", optimizer)
        with self._whole():
            state = FullyShardedDataParallel.optim_state_dict(self.model, optimizer)
            return FullyShardedDataParallel.rekey_optim_state_dict(state, OptimStateKeyType.PARAM_ID, self.model)

    def share_buffers(self) -> None:
        """Broadcast the buffers of the first process, such as running means, because checkpoints hold those."""
        module: Any = self.lightning_module
        for part in (module.front_end, module.network):
            for buffer in part.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _whole(self) -> AbstractContextManager[None]:
        """Gather state on the device: Lightning's way, gathering in main memory, crashes if the device is a CPU."""
        assert self.model is not None
        return FullyShardedDataParallel.state_dict_type(
            self.model, StateDictType.FULL_STATE_DICT, FullStateDictConfig(), FullOptimStateDictConfig()
        )

    def _setup_model(self, model: nn.Module) -> nn.Module:
        assert self.lightning_module is not None
        if self.lightning_module.trainer.state.fn != TrainerFn.FITTING:
            return model.to(self.root_device)
        sharded = FullyShardedDataParallel(
            model, sharding_strategy=self.sharding_strategy, device_id=self.root_device, **self.kwargs
        )
        for module in sharded.modules():
            if isinstance(module, Metric):
                module.to(self.root_device)

        def clip(optimizer: Any, clip_val: float) -> None:
            sharded.clip_grad_norm_(clip_val)

        # Clip by the norm over all shards; Lightning's plugin cannot, because it has no access to the model.
        self.precision_plugin.clip_grad_by_norm = clip  # type: ignore[method-assign]
        return sharded
