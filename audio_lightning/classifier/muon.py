"""Muon: orthogonalized momentum for weight matrices."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial of an iteration (Jordan et al. 2024). It raises small singular values quickly, and
those near one stay between about 0.7 and 1.2, which is as good for training as exactly one."""

ADAMW_RMS = 0.2
"""Root mean square of the updates of AdamW relative to its learning rate (Liu et al. 2025, section 2.2)."""


class Muon(Optimizer):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for weight matrices, AdamW for other parameters.

    The momentum of a weight matrix is replaced by the nearest matrix whose singular values are all about one, so that
    the step changes all directions equally, not only the few of the largest gradients. The kernel of a convolution is a
    matrix of outputs by inputs times kernel size. Updates are scaled to the root mean square of AdamW's updates (Liu et
    al. 2025, arXiv 2502.16982), and weight decay is decoupled from the gradient.

    :func:`audio_lightning.classifier.optimizers.make_optimizer` uses Muon for the weights of linear layers and
    convolutions, except for the head and for grouped convolutions.

    Args:
        params: parameters or parameter groups; those in groups with ``use_muon`` have at least two dimensions.
        lr: learning rate of the weight matrices.
        momentum: share of the momentum that is kept in each step.
        nesterov: apply the momentum a second time to the gradient (Nesterov).
        ns_steps: Newton-Schulz iterations for the orthogonalization.
        weight_decay: decoupled weight decay, relative to the learning rate.
        adamw_lr_ratio: learning rate of all other parameters as a multiple of ``lr``.
        betas, eps: see :class:`torch.optim.AdamW`, for all other parameters.

    Raises:
        ValueError: an invalid value, or a parameter with fewer than two dimensions in a group with ``use_muon``.

    Example:
        >>> import torch
        >>> from audio_lightning.classifier.muon import Muon
        >>> layer = torch.nn.Linear(8, 4)
        >>> optimizer = Muon([{"params": [layer.weight], "use_muon": True}, {"params": [layer.bias]}], lr=0.1)
        >>> layer(torch.randn(2, 8)).sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 5e-3,
        momentum: float = 0.9,
        nesterov: bool = True,
        ns_steps: int = 5,
        weight_decay: float = 0.01,
        adamw_lr_ratio: float = 0.4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        for name, value in {
            "lr": lr,
            "weight_decay": weight_decay,
            "adamw_lr_ratio": adamw_lr_ratio,
            "eps": eps,
        }.items():
            if not value >= 0:
                raise ValueError(f"{name}={value}; use 0 or more")
        for name, value in {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value}; use 0 or more, and less than 1")
        if not isinstance(ns_steps, int) or not 1 <= ns_steps <= 100:
            raise ValueError(f"ns_steps={ns_steps}; use a whole number from 1 to 100")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "weight_decay": weight_decay,
            "adamw_lr_ratio": adamw_lr_ratio,
            "betas": tuple(betas),
            "eps": eps,
            "use_muon": False,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            if group["use_muon"] and (flat := [one for one in group["params"] if one.dim() < 2]):
                raise ValueError(
                    f"use_muon: found a parameter of shape {tuple(flat[0].shape)}; use two or more dimensions"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: computes the loss and the gradients again; None uses the present gradients.

        Returns:
            The result of ``closure``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["use_muon"]:
                for parameter in params:
                    self._step_matrix(parameter, group)
            elif params:
                self._step_adamw(params, group)
        return loss

    def _step_matrix(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        matrix = orthogonalize(update.flatten(1).to(_least_float32(update.dtype)), group["ns_steps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        scale = ADAMW_RMS * max(matrix.shape) ** 0.5
        parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)  # in the type of the parameter

    def _step_adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in params:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in params]
        beta1, beta2 = group["betas"]
        adamw(
            params,
            [parameter.grad for parameter in params if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"] * group["adamw_lr_ratio"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _least_float32(dtype: torch.dtype) -> torch.dtype:
    """Type for the orthogonalization, which needs more than 16 bits."""
    return torch.promote_types(dtype, torch.float32)


def orthogonalize(matrix: Float[Tensor, "rows columns"], steps: int = 5) -> Float[Tensor, "rows columns"]:
    """Approximate the nearest matrix whose singular values are all one, by Newton-Schulz iterations.

    An iteration multiplies the matrix X by a I + b G + c G², where G = X Xᵀ. All these factors are polynomials of the
    first G and commute, so the iterations multiply small square matrices only, and X is multiplied once, at the end.
    For kernels of convolutions, this takes a third of the time on a CPU.

    Args:
        matrix: matrix of any scale; a matrix of zeros stays one.
        steps: number of iterations. Five bring singular values from about a hundredth of the Frobenius norm to one.

    Returns:
        A matrix with the singular vectors of ``matrix``, whose singular values are about 0.7 to 1.2. In float32, it
        differs from the iteration of X itself by about 0.0002 of its norm if singular values are very different.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)  # the largest singular value is at most one
    gram = x @ x.mT
    product = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(steps):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product
        gram = factor @ gram @ factor
    x = product @ x
    return x.mT if tall else x
