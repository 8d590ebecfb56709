"""Members of an ensemble in threads of their own: `python benchmarks/members.py [--rounds 5]`.

Milliseconds of the forward and backward pass of an ensemble of `panns_fast` on noise, in two ways that use the same
number of threads: the members one after the other, each with all threads (as the package does), and the members side
by side, each with one thread. The ways take turns; the median over the rounds is shown.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn import functional

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.panns import PANNs

INPUTS = {"40 bins, 101 frames, 32 clips": (32, 40, 101), "64 bins, 134 frames, 16 clips": (16, 64, 134)}
CLASSES = 10


def measure(members: int, shape: tuple[int, int, int], rounds: int, threads: int) -> tuple[float, float]:
    """Milliseconds one after the other and side by side."""
    clips, bins, frames = shape
    dims = FeatureShape("spectrogram", (1, bins, frames))
    networks = [PANNs(dims, CLASSES, channels=(24, 48, 96, 192), first_stride=2).train() for _ in range(members)]
    x, target = torch.randn(clips, 1, bins, frames), torch.arange(clips) % CLASSES

    def loss(network: PANNs) -> torch.Tensor:
        return functional.cross_entropy(network(x), target)

    def in_turn() -> None:
        torch.stack([loss(network) for network in networks]).sum().backward()

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def side_by_side() -> None:
            list(pool.map(lambda network: loss(network).backward(), networks))

        taken: dict[Callable[[], None], list[float]] = {in_turn: [], side_by_side: []}
        for _ in range(rounds):
            for way, found in taken.items():
                torch.set_num_threads(threads)
                found.append(milliseconds(way))
    one, other = (statistics.median(found) for found in taken.values())
    return one, other


def milliseconds(step: Callable[[], None], steps: int = 20) -> float:
    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return 1000 * (time.perf_counter() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds, threads = parser.parse_args().rounds, torch.get_num_threads()
    for title, shape in INPUTS.items():
        for members in (2, 4):
            one, other = measure(members, shape, rounds, threads)
            print(f"{title}, {members} networks, {threads} threads: {one:.1f} ms in turn, {other:.1f} side by side")


if __name__ == "__main__":
    main()
