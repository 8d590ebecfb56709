"""Layers that a device cannot compute in 16 bits, or computes wrongly, run in float32 under autocast.

Two kinds of layers are known to do so, and each is tried out on the device itself, on the inputs that it gets:

* Recurrent layers. oneDNN has no LSTM in bfloat16 for x86-64 without AVX-512 ("could not create a primitive
  descriptor", pytorch#187334), and cuDNN has none for GPUs before Ampere.
* Convolutions with kernels that reach beyond their input, such as the last ones of a deep network on a short clip: on
  CPUs with AVX-512, PyTorch 2.11 returns uninitialized memory as their gradients.
"""

import logging
import sys
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.base import AudioModel

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""By precision of Lightning's Trainer, the type that autocast computes in."""

LARGEST_ERROR = 0.1
"""Of an output or a gradient, relative to float32, by their norms; right ones in bfloat16 differ by 0.005."""

PROBED_CLIPS = 2


def say_float32(layers: list[str], precision: str) -> None:
    """Print and log which layers run in float32, where some do."""
    if layers:
        kinds = " and ".join(layers)
        line = f"trainer.precision={precision} is not supported on this device for {kinds}; using float32 there"
        print(line, file=sys.stderr)  # `audio-lightning evaluate --json` has its answer on the other
        logging.getLogger(__name__).info("%s", line)


def use_float32_where_needed(network: AudioModel, precision: str) -> list[str]:
    """Find layers that the network's device cannot compute in a precision, and run them in float32 from now on.

    The network is run once, on noise, with layers in question computed forwards and backwards in both types. Weights,
    gradients, statistics of normalizations and the state of random generators stay as they were.

    Args:
        network: on the device that it is trained on.
        precision: of Lightning's Trainer; with ``"32-true"`` and the like nothing is done.

    Returns:
        The names of the classes of these layers, each once.

    Raises:
        ConfigError: other layers fail in this precision.
    """
    if (dtype := DTYPES.get(precision)) is None:
        return []
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.RNNBase, _ConvNd))]
    training = [module for module in network.modules() if module.training]
    device = next(network.parameters()).device
    noise = torch.randn(PROBED_CLIPS, *network.input_shape.dims, generator=torch.Generator().manual_seed(0))
    for layer in layers:
        _replace(layer, _probe)
    network.eval()
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.no_grad(),
            torch.autocast(device.type, dtype=dtype),
        ):
            network.forward(noise.to(device))  # of a compiled network, what it was before
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"trainer.precision={precision}: {network.title} cannot be computed in it on this device ({reason}); "
            "use trainer.precision=32-true"
        ) from error
    finally:
        for layer in layers:
            if vars(layer).get("forward") == MethodType(_probe, layer):  # it was not called
                del layer.forward
        for module in training:
            module.training = True
    return sorted({type(layer).__name__ for layer in layers if "forward" in vars(layer)})


def _probe(layer: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Stands for ``forward`` of a layer once: decides in which type it is computed from then on."""
    del layer.forward
    if not _reaches_beyond(layer, *inputs) or _is_right(layer, inputs, options):
        return layer.forward(*inputs, **options)
    _replace(layer, _in_float32)
    return layer.forward(*inputs, **options)


def _replace(layer: nn.Module, forward: Any) -> None:
    """Have ``forward(layer, ...)`` called for a layer; as a method, which copies of the layer make their own."""
    layer.forward = MethodType(forward, layer)


def _reaches_beyond(layer: nn.Module, *inputs: Any) -> bool:
    """Whether a convolution's kernel is larger than its input in some direction; True for other layers."""
    if not isinstance(layer, _ConvNd) or not inputs:
        return True
    sizes = inputs[0].shape[-len(layer.kernel_size) :]
    extents = (step * (width - 1) + 1 for step, width in zip(layer.dilation, layer.kernel_size))
    return any(size < extent for size, extent in zip(sizes, extents))


def _is_right(layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a layer gives under autocast what it gives in float32, output and gradients."""
    dropout, layer.training = getattr(layer, "dropout", None), True  # cuDNN has gradients in training mode alone
    if dropout is not None:
        layer.dropout = 0.0  # type: ignore[assignment]
    try:
        wanted = _results(layer, MethodType(_in_float32, layer), inputs, options)
        found = _results(layer, layer.forward, inputs, options)
    except (RuntimeError, NotImplementedError):
        return False
    finally:
        layer.training = False
        if dropout is not None:
            layer.dropout = dropout
    return all(_differ_little(one, other) for one, other in zip(found, wanted, strict=True))


def _results(layer: nn.Module, call: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> list[Tensor]:
    """Outputs of a layer, and the gradients of its inputs and parameters for one and the same noise."""

    def leaf(value: Any) -> Any:
        return value.detach().clone().requires_grad_() if _is_float(value) else value

    with torch.enable_grad():
        inputs, options = tree_map(leaf, inputs), tree_map(leaf, options)
        outputs = [value for value in tree_leaves(call(*inputs, **options)) if _is_float(value)]
        generator = torch.Generator().manual_seed(1)
        noise = [torch.randn(value.shape, generator=generator).to(value) for value in outputs]
        learned = [value for value in (*tree_leaves((inputs, options)), *layer.parameters()) if _is_float(value)]
        learned = [value for value in learned if value.requires_grad]
        gradients = torch.autograd.grad(outputs, learned, noise, allow_unused=True)
    return [*outputs, *(gradient for gradient in gradients if gradient is not None)]


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _differ_little(one: Tensor, other: Tensor) -> bool:
    difference, norm = (one.float() - other.float()).norm(), other.float().norm()
    return bool(difference <= LARGEST_ERROR * norm + 1e-6)


def _in_float32(layer: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Stands for ``forward`` of a layer: float32, whatever goes on around it."""
    device = next(layer.parameters()).device

    def widened(value: Any) -> Any:
        return value.float() if _is_float(value) else value

    with torch.autocast(device.type, enabled=False):
        return type(layer).forward(layer, *tree_map(widened, inputs), **tree_map(widened, options))
