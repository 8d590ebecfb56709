"""float32 under autocast for layers that a device cannot compute in 16 bits, or computes wrongly.

Two kinds of layers are known:

* Recurrent layers. oneDNN has no LSTM in bfloat16 for x86-64 without AVX-512 ("could not create a primitive
  descriptor", pytorch#187334), and cuDNN has none for GPUs before Ampere. Each is tested on the device itself, with its
  own inputs.
* Convolutions with kernels larger than their input, such as the last ones of a deep network on a short clip. On CPUs
  with AVX-512, PyTorch 2.11 returns uninitialized memory as their gradients. A test would find it only by chance, since
  fresh memory is often zero; on CPUs they always run in float32, which costs little for such small inputs. On other
  devices they are tested like recurrent layers.
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
"""Type that autocast computes in, for each precision of Lightning's Trainer."""

LARGEST_ERROR = 0.1
"""Maximum error of an output or gradient relative to float32, by norms; correct ones in bfloat16 differ by 0.005."""

PROBED_CLIPS = 2


def say_float32(layers: list[str], precision: str) -> None:
    """Print and log which layers run in float32, if any."""
    if layers:
        kinds = " and ".join(layers)
        line = f"trainer.precision={precision} is not supported on this device for {kinds}; using float32 there"
        print(line, file=sys.stderr)  # stdout is for results, as with `audio-lightning evaluate --json`
        logging.getLogger(__name__).info("%s", line)


def use_float32_where_needed(network: AudioModel, precision: str) -> list[str]:
    """Find layers that the network's device cannot compute in a precision, and run them in float32 from then on.

    The network is run once on noise; the layers in question run forwards and backwards in both types. Weights,
    gradients, statistics of normalizations and the state of random generators do not change.

    Args:
        network: network on the device of the training.
        precision: precision of Lightning's Trainer; nothing is done for ``"32-true"`` and other unmixed ones.

    Returns:
        Names of the classes of these layers, each once.

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
            network.forward(noise.to(device))  # forward() itself, which is not compiled
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"trainer.precision={precision}: {network.title} cannot be computed in it on this device ({reason}); "
            "use trainer.precision=32-true"
        ) from error
    finally:
        for layer in layers:
            if vars(layer).get("forward") == MethodType(_probe, layer):  # the layer was not called
                del layer.forward
        for module in training:
            module.training = True
    return sorted({type(layer).__name__ for layer in layers if "forward" in vars(layer)})


def _probe(layer: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Replacement of a layer's ``forward`` for one call, which decides in which type the layer runs from then on."""
    del layer.forward
    if _reaches_beyond(layer, *inputs) and (_is_unreliable(layer) or not _is_right(layer, inputs, options)):
        _replace(layer, _in_float32)
    return layer.forward(*inputs, **options)


def _replace(layer: nn.Module, forward: Any) -> None:
    """Replace a layer's ``forward`` by a method, which copies of the layer bind to themselves."""
    layer.forward = MethodType(forward, layer)


def _reaches_beyond(layer: nn.Module, *inputs: Any) -> bool:
    """Whether a convolution's kernel is larger than its input in some dimension; True for other layers."""
    if not isinstance(layer, _ConvNd) or not inputs:
        return True
    sizes = inputs[0].shape[-len(layer.kernel_size) :]
    extents = (step * (width - 1) + 1 for step, width in zip(layer.dilation, layer.kernel_size))
    return any(size < extent for size, extent in zip(sizes, extents))


def _is_unreliable(layer: nn.Module) -> bool:
    """Whether results of a layer whose kernel is larger than its input may be wrong, whatever one call returns."""
    return isinstance(layer, _ConvNd) and next(layer.parameters()).device.type == "cpu"


def _is_right(layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether the output and the gradients of a layer under autocast are those in float32."""
    dropout, layer.training = getattr(layer, "dropout", None), True  # cuDNN computes gradients in training mode only
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
    """Compute outputs of a layer, and the gradients of its inputs and parameters for the same noise."""

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
    """Replacement of a layer's ``forward`` that computes in float32, whatever the context."""
    device = next(layer.parameters()).device

    def widened(value: Any) -> Any:
        return value.float() if _is_float(value) else value

    with torch.autocast(device.type, enabled=False):
        return type(layer).forward(layer, *tree_map(widened, inputs), **tree_map(widened, options))
