"""Multiply-accumulates of recurrent layers: counted on one frame, for all frames."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from audio_lightning.models.macs import count_macs

FRAMES, CLIPS, BINS = 12, 2, 5


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.layers = kind(BINS, 7, **options)
        self.linear = nn.Linear(14 if options.get("bidirectional") else 7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.layers(x)[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"num_layers": 2, "batch_first": True}, (CLIPS, FRAMES, BINS)),
        ({"bidirectional": True}, (FRAMES, CLIPS, BINS)),
        ({"batch_first": True}, (FRAMES, BINS)),
    ],
    ids=["two layers", "both directions, frames first", "one clip"],
)
def test_macs_equal_those_counted_frame_by_frame(
    kind: type[nn.RNNBase], options: dict[str, object], shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        network = Recurrent(kind, **options).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.empty(shape, device="meta"))

    assert count_macs(network, *shape) == counter.get_total_flops() // 2
    assert "forward" not in vars(network.layers)


def test_a_recurrent_layer_computes_one_frame() -> None:
    lengths = []

    class Recording(nn.LSTM):
        def forward(self, x: torch.Tensor, state: object = None) -> object:
            lengths.append(x.shape[1])
            return super().forward(x, state)

    with torch.device("meta"):
        network = Recurrent(Recording, batch_first=True)
    count_macs(network, 1, 1000, BINS)
    assert lengths == [1]
