"""Layers shared by several architectures."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from torch import nn

Cell: TypeAlias = Literal["lstm", "gru"]


def mlp(
    widths: Sequence[int], dropout: float, activation: Callable[[], nn.Module] = nn.ReLU
) -> tuple[list[nn.Module], int]:
    """Build a flattening layer, and linear layers with activation and dropout; return the layers and the last width.

    Args:
        widths: size of the input, then the width of each linear layer.
        dropout: dropout probability after each linear layer.
        activation: builds an activation.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation(), nn.Dropout(dropout)]
    return layers, widths[-1]


def recurrent(
    cell: Cell, inputs: int, hidden_dim: int, num_layers: int, *, bidirectional: bool, dropout: float
) -> nn.LSTM | nn.GRU:
    """Build recurrent layers for ``[batch, time, inputs]``, with dropout between them."""
    return {"lstm": nn.LSTM, "gru": nn.GRU}[cell](
        inputs,
        hidden_dim,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=dropout if num_layers > 1 else 0.0,  # torch warns about dropout in a single layer
    )


def pooled_convolutions(widths: Sequence[int], *, batch_norm: bool) -> list[nn.Sequential]:
    """Build blocks of a 3x3 convolution, ReLU and max-pooling by 2; ``widths`` are the numbers of channels."""
    return [
        nn.Sequential(
            # No bias before batch normalization, which subtracts the mean and the bias with it.
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=not batch_norm),
            nn.BatchNorm2d(outputs) if batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        for inputs, outputs in pairwise(widths)
    ]


def convolutions(
    kind: type[nn.Conv1d] | type[nn.Conv2d], inputs: int, outputs: int, num_layers: int, kernel_size: int
) -> list[nn.Module]:
    """Build convolutions with ReLU that keep the size of their input."""
    layers: list[nn.Module] = []
    for number in range(num_layers):
        convolution = kind(outputs if number else inputs, outputs, kernel_size, padding="same")
        # With torch's default initialization, the signal would vanish over ten layers without normalization.
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        layers += [convolution, nn.ReLU()]
    return layers


def transformer_encoder(num_layers: int, embed_dim: int, num_heads: int, **options: Any) -> list[nn.Module]:
    """Build pre-norm layers of self-attention; ``options`` are passed to ``nn.TransformerEncoderLayer``."""
    shared: dict[str, Any] = {"activation": "gelu", "batch_first": True, "norm_first": True, **options}
    return [nn.TransformerEncoderLayer(embed_dim, num_heads, **shared) for _ in range(num_layers)]
