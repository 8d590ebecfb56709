"""Calibration of probabilities: scale and bias of logits such that probabilities are relative frequencies.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2: one temperature
for all logits, or a scale and a bias for each class. With several labels per clip, each class has its own: Platt,
"Probabilistic Outputs for Support Vector Machines" (1999).
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

Method = Literal["temperature", "vector", "none"]
"""``temperature``: one scale; ``vector``: a scale and a bias for each class; ``none``: uncalibrated probabilities."""

STEEPEST = 50.0
"""Maximum scale, and the inverse of the minimum; more extreme values mean a division by zero, not a calibration."""

MOST_STEPS = 200
"""Maximum number of optimizer steps; problems of this size need about twenty."""


class Calibration(nn.Module):
    """Calibrated log odds: ``log_softmax(logits) * scale + bias``, or ``logits * scale + bias`` for several labels.

    Until :meth:`put` it returns logits unchanged to the last bit. A state dict without its entries is that of a
    classifier without calibration.

    Args:
        num_classes: number of classes.
        multilabel: whether a clip may have several labels.

    Attributes:
        scale: positive scales, ``[classes]``.
        bias: biases, ``[classes]``.
        fitted: whether the calibration changes anything.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool) -> None:
        super().__init__()
        self.multilabel = multilabel
        self.register_buffer("scale", torch.ones(num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.fitted = False

    @property
    def temperature(self) -> float | None:
        """Temperature that logits are divided by; None if classes differ, or nothing is fitted."""
        same = self.fitted and bool((self.scale == self.scale[0]).all()) and not self.bias.any()
        return 1 / float(self.scale[0]) if same else None

    def put(self, scale: Float[Tensor, "classes"], bias: Float[Tensor, "classes"]) -> None:
        """Set scale and bias, such as those of :func:`fit`.

        Raises:
            ValueError: a scale that is not positive, a value that is not finite, or a wrong number of values.
        """
        _check(scale, bias, len(self.scale))
        self.scale.copy_(scale)
        self.bias.copy_(bias)
        self._notice()

    def reset(self) -> None:
        """Reset to the identity."""
        self.put(torch.ones_like(self.scale), torch.zeros_like(self.bias))

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Calibrate logits: their softmax (or sigmoid) is the calibrated probability."""
        if not self.fitted:
            return logits
        known = logits if self.multilabel else logits.log_softmax(dim=1)
        return known * self.scale.to(known) + self.bias.to(known)

    def _notice(self) -> None:
        self.fitted = bool((self.scale != 1).any() or self.bias.any())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        state_dict.setdefault(f"{prefix}scale", torch.ones_like(self.scale))
        state_dict.setdefault(f"{prefix}bias", torch.zeros_like(self.bias))
        scale, bias = state_dict[f"{prefix}scale"], state_dict[f"{prefix}bias"]
        if scale.shape == self.scale.shape and bias.shape == self.bias.shape:  # torch reports other shapes itself
            _check(scale, bias, len(self.scale))
        super()._load_from_state_dict(state_dict, prefix, *others)
        self._notice()


def method_of(name: str, *, multilabel: bool) -> Method:
    """Return the method for ``calibration`` of a configuration.

    ``auto`` is a temperature, or a scale and a bias for each class if clips may have several labels.

    Args:
        name: name of a method, or ``auto``.
        multilabel: whether a clip may have several labels.
    """
    methods: dict[str, Method] = {"temperature": "temperature", "vector": "vector", "none": "none"}
    methods["auto"] = "vector" if multilabel else "temperature"
    return methods[name]


def fit(
    logits: Float[Tensor, "clips classes"], targets: Tensor, method: Method, *, multilabel: bool
) -> tuple[Float[Tensor, "classes"], Float[Tensor, "classes"]]:
    """Fit scale and bias by minimizing the cross-entropy of clips that the network was not trained on.

    Targets are smoothed by one additional clip, spread evenly over the classes (several labels: one additional clip
    with and one without the label, Platt 1999, section 2.2). Without smoothing, clips that are all predicted correctly
    would need probabilities of 1. There is one minimum, so the start does not matter.

    Args:
        logits: logits of clips that the network was not trained on.
        targets: index of the class, ``[clips]``, or presence of each label, ``[clips, classes]``.
        method: see :data:`Method`. If clips may have several labels, ``temperature`` is a scale for each class.
        multilabel: whether a clip may have several labels.

    Returns:
        Scale and bias, float32; 1 and 0 if there is nothing to fit: no clips, or logits that are not finite.
    """
    classes = logits.shape[1]
    scale, bias = torch.ones(classes), torch.zeros(classes)
    if method == "none" or not len(logits) or not bool(logits.isfinite().all()):
        return scale, bias
    known = logits.detach().cpu().double()
    if multilabel:
        found = [_of_class(known[:, place], targets[:, place].cpu() > 0.5, method) for place in range(classes)]
        return torch.tensor([one[0] for one in found]), torch.tensor([one[1] for one in found])
    return _of_clips(known.log_softmax(dim=1), targets.cpu(), method)


def _of_clips(
    known: Float64[Tensor, "clips classes"], target: Int64[Tensor, "clips"], method: Method
) -> tuple[Tensor, Tensor]:
    count, classes = known.shape
    rest = 1 / ((count + 1) * classes)
    smooth = torch.full_like(known, rest)
    smooth.scatter_(1, target[:, None], count / (count + 1) + rest)

    def loss(scale: Tensor, bias: Tensor) -> Tensor:
        return F.cross_entropy(known * scale + bias, smooth)

    if method == "temperature":
        scale, _ = _minimize(lambda scale, _: loss(scale, torch.zeros(1, dtype=torch.float64)), 1, with_bias=False)
        return scale.float().expand(classes).clone(), torch.zeros(classes)
    # A class has few clips, so its scale and bias are regularized towards the common ones, with the weight of one clip.
    common, _ = _minimize(lambda scale, _: loss(scale, torch.zeros(1, dtype=torch.float64)), 1, with_bias=False)

    def held(scale: Tensor, bias: Tensor) -> Tensor:
        return loss(scale, bias) + ((scale.log() - common.log()).square().sum() + bias.square().sum()) / count

    scale, bias = _minimize(held, classes, with_bias=True, start=common)
    return scale.float(), bias.float()


def _of_class(known: Float64[Tensor, "clips"], present: Bool[Tensor, "clips"], method: Method) -> tuple[float, float]:
    positive = int(present.sum())
    negative = len(present) - positive
    if not positive or not negative:
        return 1.0, 0.0
    smooth = torch.where(present, (positive + 1) / (positive + 2), 1 / (negative + 2)).double()

    def loss(scale: Tensor, bias: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(known * scale + bias, smooth)

    scale, bias = _minimize(loss, 1, with_bias=method == "vector")
    return float(scale), float(bias)


def _minimize(
    loss: Callable[[Tensor, Tensor], Tensor], size: int, *, with_bias: bool, start: Tensor | None = None
) -> tuple[Float64[Tensor, "size"], Float64[Tensor, "size"]]:
    """Minimize the loss over the logarithm of the scale, which keeps the scale positive, and over the bias."""
    log_scale = torch.zeros(size, dtype=torch.float64) if start is None else start.log().expand(size).clone()
    bias = torch.zeros(size, dtype=torch.float64)
    log_scale.requires_grad_()
    bias.requires_grad_(with_bias)
    variables = [log_scale, bias] if with_bias else [log_scale]
    optimizer = torch.optim.LBFGS(variables, max_iter=MOST_STEPS, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        found = loss(log_scale.exp(), bias)
        found.backward()
        return found

    with torch.enable_grad(), torch.inference_mode(False):
        optimizer.step(step)
    return log_scale.detach().exp().clamp(1 / STEEPEST, STEEPEST), bias.detach()


def _check(scale: Tensor, bias: Tensor, classes: int) -> None:
    if scale.shape != (classes,) or bias.shape != (classes,):
        raise ValueError(f"calibration: expected a scale and a bias for each of {classes} classes")
    if not bool(scale.isfinite().all() and bias.isfinite().all() and (scale > 0).all()):
        raise ValueError("calibration: expected positive scales and finite biases")
