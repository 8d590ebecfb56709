"""Replacements for operations of a network that ``torch.vmap`` cannot batch over members, or batches slowly.

A member is one of several networks of the same architecture. Random draws and recurrent layers are computed for one
member after another. Each member draws from its own stream the random numbers that it would draw in a separate
training. Convolutions, batch normalization and pooling have the members as a part of the channels, attention has them
as a part of the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from audio_lightning.training.fusion.random_states import RandomState

LOOPED = frozenset(
    {
        torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu,
        torch.rand, torch.randn, torch.rand_like, torch.randn_like, torch.randint, torch.randint_like, torch.randperm,
        torch.bernoulli, torch.normal, torch.multinomial, torch.dropout, torch.feature_dropout, torch.alpha_dropout,
        torch.feature_alpha_dropout, torch.rrelu,
        Tensor.bernoulli, Tensor.multinomial,
        F.alpha_dropout, F.feature_alpha_dropout, F.rrelu, F.gumbel_softmax,
    }
)  # fmt: skip
"""Functions that are computed for one member after another."""

LOOPED_IN_PLACE = frozenset({Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.exponential_})
"""In-place functions that are computed for one member after another, on a copy of their first argument.

This argument stays unchanged, so a network must use the returned tensor, as all networks of this package do.
"""

CONVOLUTIONS: dict[Any, int] = {torch.conv1d: 3, torch.conv2d: 4, torch.conv3d: 5}
"""Number of dimensions of a batched input of each convolution."""

POOLING = frozenset(
    {
        torch.max_pool1d, torch.max_pool2d, torch.avg_pool1d, F.avg_pool2d, F.max_pool1d, F.max_pool2d,
        F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool1d, F.adaptive_max_pool2d,
        torch.adaptive_avg_pool1d,
    }
)  # fmt: skip
"""Pooling functions, which compute each channel independently of the others."""

DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d")
"""Functions of ``torch.nn.functional`` that :meth:`MemberOps.on` replaces."""

Function = Callable[..., Any]

_attention = F.scaled_dot_product_attention


class _OneByOne(torch.autograd.Function):
    """Function that is computed for one member after another, each with its own stream of random numbers.

    Autograd records the operations inside :meth:`vmap`, so no backward pass is defined.
    """

    @staticmethod
    def forward(compute: Function, streams: Sequence[RandomState], member: Tensor, *inputs: Tensor) -> Any:
        raise NotImplementedError("this function is for torch.vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError("this function is for torch.vmap alone")

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        compute: Function,
        streams: Sequence[RandomState],
        member: Tensor,
        *inputs: Tensor,
    ) -> tuple[Any, Any]:
        rows = []
        for number, stream in enumerate(streams):
            own = [tensor if dim is None else tensor.select(dim, number) for tensor, dim in zip(inputs, in_dims[3:])]
            with stream.used():
                rows.append(compute(*own))
        if isinstance(rows[0], Tensor):
            return torch.stack(rows), 0
        return tuple(map(torch.stack, zip(*rows))), (0,) * len(rows[0])


class _Folded(torch.autograd.Function):
    """Attention without mask and dropout, with the members as a part of the batch."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Any:
        raise NotImplementedError("this function is for torch.vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError("this function is for torch.vmap alone")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, int]:
        folded = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((query, key, value), in_dims)
        ]
        sizes = folded[0].shape[:2]
        query, key, value = (tensor.flatten(0, 1) for tensor in folded)
        attended = _attention(query, key, value, **options)
        return attended.unflatten(0, sizes), 0


class _ByChannel(torch.autograd.Function):
    """Convolution, batch normalization or pooling, with the members as a part of the channels.

    The batching rules of ``vmap`` are slower. They move the members into the batch for some of these operations and
    into the channels for others, with a copy each time. They also apply scale and shift after batch normalization, as
    separate operations.
    """

    @staticmethod
    def forward(compute: Function, x: Tensor, *parameters: Tensor | None) -> Any:
        raise NotImplementedError("this function is for torch.vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError("this function is for torch.vmap alone")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], compute: Function, x: Tensor, *parameters: Tensor | None
    ) -> tuple[Tensor, int]:
        members = info.batch_size
        dim = in_dims[1]
        x = x.unsqueeze(1).expand(-1, members, *x.shape[1:]) if dim is None else x.movedim(dim, 1)
        own = []
        for tensor, dim in zip(parameters, in_dims[2:]):
            if tensor is not None:
                tensor = tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
                tensor = tensor.flatten(0, 1)
            own.append(tensor)
        found: Tensor = compute(members, x.flatten(1, 2), *own)
        return found.unflatten(1, (members, -1)), 1


class MemberOps(TorchFunctionMode):
    """Function mode that replaces operations of a network under ``vmap``, so that each member computes as if alone.

    Args:
        member: number of the member, int64, batched by ``vmap``.
        streams: random numbers of each member.
    """

    def __init__(self, member: Tensor, streams: Sequence[RandomState]) -> None:
        super().__init__()
        self._member, self._streams = member, streams

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute ``func`` or its replacement."""
        kwargs = kwargs or {}
        if func in CONVOLUTIONS:
            return self._convolution(func, *args, **kwargs)
        if func is F.batch_norm:
            return self._batch_norm(func, *args, **kwargs)
        if func in POOLING and len(args) > 1 and args[0].dim() == _pooled_dims(func):
            return self._pooling(func, *args, **kwargs)
        if func in LOOPED:
            return self._looped(func, *args, **kwargs)
        if func in LOOPED_IN_PLACE:
            tensor, *rest = args
            return self._looped(
                lambda own, *given, **named: func(own.clone(), *given, **named), tensor, *rest, **kwargs
            )
        return func(*args, **kwargs)

    def _convolution(
        self,
        func: Function,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        if input.dim() != CONVOLUTIONS[func]:  # without a batch
            return func(input, weight, bias, stride, padding, dilation, groups)

        def compute(members: int, x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
            return func(x, weight, bias, stride, padding, dilation, members * groups)

        return _apply(_ByChannel, compute, input, weight, bias)

    def _batch_norm(
        self,
        func: Function,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        def compute(members: int, x: Tensor, *given: Tensor | None) -> Any:
            return func(x, *given, training, momentum, eps)

        return _apply(_ByChannel, compute, input, running_mean, running_var, weight, bias)

    def _pooling(self, func: Function, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return _apply(_ByChannel, lambda members, x: func(x, *args, **kwargs), input)

    def _looped(self, func: Function, *args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def compute(*tensors: Tensor) -> Any:
            own = list(leaves)
            for place, tensor in zip(places, tensors):
                own[place] = tensor
            given, named = tree_unflatten(own, spec)
            return func(*given, **named)

        return _apply(_OneByOne, compute, self._streams, self._member, *(leaves[place] for place in places))

    def _dropout(self, name: str) -> Function:
        original = getattr(F, name)
        whole = name == "dropout"

        def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
            if not training or not 0 < p < 1:
                dropped: Tensor = original(input, p, training)
                return dropped

            def mask(like: Tensor) -> Tensor:
                # Except for "dropout", one number per channel. Kernels draw in memory order: ones_like keeps strides.
                ones = torch.ones_like(like) if whole else like.new_ones(*like.shape[:2], *[1] * (like.dim() - 2))
                return original(ones, p, True)

            return input * self._looped(mask, input.detach())

        return dropout

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        options["is_causal"] = is_causal
        if not dropout_p and attn_mask is None and query.dim() == key.dim() == value.dim() == 4:
            folded: Tensor = _apply(_Folded, query, key, value, options)
            return folded
        looped: Tensor = self._looped(_attention, query, key, value, attn_mask, dropout_p, **options)
        return looped

    @contextmanager
    def on(self) -> Iterator[None]:
        """Switch the mode on, and replace the dropouts and the attention of ``torch.nn.functional``.

        The mode is off while it handles a call. It would not intercept the operations that these functions call.
        """
        replaced = {name: self._dropout(name) for name in DROPOUTS}
        replaced["scaled_dot_product_attention"] = self._attend
        kept = {name: getattr(F, name) for name in replaced}
        for name, function in replaced.items():
            setattr(F, name, function)
        try:
            with self:
                yield
        finally:
            for name, function in kept.items():
                setattr(F, name, function)


def _apply(operation: type[torch.autograd.Function], *arguments: Any) -> Any:
    return operation.apply(*arguments)


def _pooled_dims(func: Function) -> int:
    """Return the number of dimensions of a batched input of a function in :data:`POOLING`."""
    return 4 if func.__name__.endswith("2d") else 3
