"""Warning about a jump of the learning rate when a run is resumed with another length."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch.optim.lr_scheduler import LambdaLR

from audio_lightning.core.messages import print_and_log

LEAST_JUMP = 0.01
"""Smallest jump that is reported, as a share of the peak learning rate."""


class RateJump(Callback):
    """Callback that warns if the learning rate of a resumed run jumps because its schedule has another length."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the last learning rate of the run with that of the new schedule at the same step."""
        for config in trainer.lr_scheduler_configs if trainer.global_step else ():
            scheduler = config.scheduler
            if not isinstance(scheduler, LambdaLR):  # PyTorch's schedulers keep their length when they are loaded
                continue
            factors = [function(scheduler.last_epoch) for function in scheduler.lr_lambdas]
            due = max(base * factor for base, factor in zip(scheduler.base_lrs, factors))
            reached = max(group["lr"] for group in scheduler.optimizer.param_groups)
            peak = max(scheduler.base_lrs)
            if trainer.is_global_zero and abs(due - reached) > LEAST_JUMP * peak:
                print_and_log(
                    f"warning: the learning rate jumps from {reached:.3g} to {due:.3g} ({due / peak:.2f} of its peak "
                    f"{peak:.3g}), because {type(scheduler).__name__} spans the whole training, whose length has "
                    "changed; for one continuous schedule, start a new run of this length"
                )
