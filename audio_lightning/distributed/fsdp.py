"""Parameters, gradients and the optimizer's state divided among devices, which takes less memory on each."""

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
    """Fully sharded data parallel training: what ``trainer.strategy=fsdp`` is here.

    Its checkpoints are those of any other training: one file with the whole network, put together on the first
    process. What comes after the training (choosing thresholds, testing) has the whole network on every device, as
    every use of the checkpoint will. Mixed precision is autocast alone: Lightning's would hand the front end its
    waveforms and filters in 16 bits, too. Lightning refuses FSDP on CPUs; this works there, to see that it does.
    """

    def __init__(self) -> None:
        super().__init__(state_dict_type="full")

    @property
    def mixed_precision_config(self) -> None:
        """Parameters, buffers and gradients stay in float32."""
        return None

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole network, for a checkpoint."""
        assert self.model is not None
        with self._whole():
            return self.model.state_dict()

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """The whole state of an optimizer, for a checkpoint, as it would be without sharding."""
        assert self.model is not None
        optimizer = getattr(optimizer, "_optimizer", optimizer)
        with self._whole():
            state = FullyShardedDataParallel.optim_state_dict(self.model, optimizer)
            return FullyShardedDataParallel.rekey_optim_state_dict(state, OptimStateKeyType.PARAM_ID, self.model)

    def share_buffers(self) -> None:
        """Give all processes the running means of the first one, which go into the checkpoints."""
        module: Any = self.lightning_module
        for part in (module.front_end, module.network):
            for buffer in part.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _whole(self) -> AbstractContextManager[None]:
        """On the device: what Lightning does, putting it together in main memory, crashes where the device is a CPU."""
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

        # The norm of all shards together, which Lightning's plugin cannot take since it does not know the model.
        self.precision_plugin.clip_grad_by_norm = clip  # type: ignore[method-assign]
        return sharded
