"""Calibrated probabilities: scale and shift a trained network's logits, so that a probability is a relative frequency.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2: one temperature
for all logits, or a scale and a bias for each class. With several labels a clip, each class has its own: Platt,
"Probabilistic Outputs for Support Vector Machines" (1999).
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

Method = Literal["temperature", "vector", "none"]
"""``temperature``: a scale; ``vector``: a scale and a bias for each class; ``none``: probabilities as trained."""

STEEPEST = 50.0
"""Largest scale, and the inverse of the smallest: logits beyond it have been divided by zero, not calibrated."""

MOST_STEPS = 200
"""Steps of the optimizer; problems of this size need about twenty."""


class Calibration(nn.Module):
    """Calibrated log-odds of logits: ``log_softmax(logits) * scale + bias``, or ``logits * scale + bias`` by class.

    Until :meth:`put` it returns logits unchanged, so that probabilities of a classifier without calibration keep every
    bit. A state dict without it is that of such a classifier.

    Args:
        num_classes: number of classes.
        multilabel: whether a clip may have several labels.

    Attributes:
        scale: positive, ``[classes]``.
        bias: ``[classes]``.
        fitted: whether it changes anything.
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
        """Number that logits are divided by; None where classes differ, or nothing was fitted."""
        same = self.fitted and bool((self.scale == self.scale[0]).all()) and not self.bias.any()
        return 1 / float(self.scale[0]) if same else None

    def put(self, scale: Float[Tensor, "classes"], bias: Float[Tensor, "classes"]) -> None:
        """Use a scale and a bias, such as :func:`fit` finds.

        Raises:
            ValueError: a scale that is not positive, a number that is not finite, or not one for each class.
        """
        _check(scale, bias, len(self.scale))
        self.scale.copy_(scale)
        self.bias.copy_(bias)
        self._notice()

    def reset(self) -> None:
        """Return logits unchanged from now on."""
        self.put(torch.ones_like(self.scale), torch.zeros_like(self.bias))

    def forward(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Logits whose softmax (or sigmoid) is the calibrated probability."""
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
        if scale.shape == self.scale.shape and bias.shape == self.bias.shape:  # torch names those of other shapes
            _check(scale, bias, len(self.scale))
        super()._load_from_state_dict(state_dict, prefix, *others)
        self._notice()


def method_of(name: str, *, multilabel: bool) -> Method:
    """The method that ``calibration`` of a configuration names.

    ``auto`` is a temperature, or a scale and a bias for each class where a clip may have several labels.

    Args:
        name: of a method, or ``auto``.
        multilabel: whether a clip may have several labels.
    """
    methods: dict[str, Method] = {"temperature": "temperature", "vector": "vector", "none": "none"}
    methods["auto"] = "vector" if multilabel else "temperature"
    return methods[name]


def fit(
    logits: Float[Tensor, "clips classes"], targets: Tensor, method: Method, *, multilabel: bool
) -> tuple[Float[Tensor, "classes"], Float[Tensor, "classes"]]:
    """Fit scale and bias by the cross-entropy of clips that were not trained on.

    Targets are smoothed as by one clip more, of every class alike (several labels: one clip more of each kind, Platt
    1999, section 2.2): without it, clips that are all predicted correctly would ask for probabilities of 1. There is
    one minimum, so no start matters.

    Args:
        logits: of clips that the network was not trained on.
        targets: index of the class, ``[clips]``, or whether each label is the clip's, ``[clips, classes]``.
        method: see :data:`Method`. With several labels a clip, ``temperature`` is a scale for each class.
        multilabel: whether a clip may have several labels.

    Returns:
        Scale and bias, float32; 1 and 0 where there is nothing to fit to: no clip, or logits that are not finite.
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
    # Few clips say little about a class: its scale and bias are held to those of all by one clip's worth of loss.
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
    """The logarithm of the scale is what is searched, so that no scale is negative."""
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
