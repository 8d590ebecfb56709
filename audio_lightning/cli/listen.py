"""``audio-lightning listen``: live classification of a microphone, a pipe or a file."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, Device, Hop, Trust, Window, find_existing
from audio_lightning.core.errors import ConfigError

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.live import Block, LiveStatistics

PIPE = "-"


@exits
def listen_command(
    checkpoint: Checkpoint,
    source: Annotated[
        str | None,
        typer.Option(metavar="FILE | -", help="A recording, or - for 16-bit mono PCM on stdin; default: microphone."),
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Sample rate of stdin in Hz.")] = None,
    microphone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Input device: number, or part of its name.")
    ] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="Read a recording at the speed of playback.")] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Minimum probability to print.")] = 0.0,
    window: Window = None,
    hop: Hop = None,
    device: Device = "cpu",
    trust: Trust = None,
) -> None:
    """Classify live sound window by window, and print each prediction at once; stop with Ctrl-C.

    By default, the hop is a quarter of a window. At the end, the latency (from the last sample of a window to its
    prediction) and the real-time factor are printed.
    """
    if (rate is None) == (source == PIPE):
        raise ConfigError("--rate: the sample rate of a pipe; give both --source - and --rate HERTZ, or neither")
    if source is not None and microphone is not None:
        raise ConfigError("--source, --microphone: exclude each other; give one of them")
    path = find_existing(checkpoint)
    from audio_lightning.inference.live import LiveStatistics, check_rate, listen
    from audio_lightning.inference.load import load_classifier

    if rate is not None:
        check_rate(rate)
    classifier, statistics = load_classifier(path, device, trust=trust), LiveStatistics()
    blocks, sample_rate = _opened(source, rate, microphone, real_time, classifier, statistics)
    answers = listen(classifier, blocks, sample_rate, statistics, window_seconds=window, hop_seconds=hop)
    with suppress(KeyboardInterrupt):
        for answer in answers:
            shares = dict(zip(classifier.task.classes, answer.probabilities.tolist()))
            if max(shares.values()) >= threshold:
                text = ", ".join(f"{name} {shares[name]:.3f}" for name in answer.labels) or "none of the classes"
                print(f"{answer.start_seconds:.2f} to {answer.stop_seconds:.2f} s: {text}", flush=True)
    _print_statistics(statistics)


def _opened(
    source: str | None,
    rate: int | None,
    microphone_name: str | None,
    real_time: bool,
    classifier: "Classifier",
    statistics: "LiveStatistics",
) -> "tuple[Iterator[Block], int]":
    """Open the source; return its blocks and its sample rate in Hz."""
    from audio_lightning.audio import describe
    from audio_lightning.inference.live import microphone, microphone_rate, of_recording, raw_pcm

    if source == PIPE:
        assert rate is not None
        return raw_pcm(sys.stdin.buffer, rate), rate
    if source is not None:
        path = Path(source).expanduser()
        channel = classifier.config["data"].get("channel", "mean")
        return of_recording(path, channel, real_time=real_time), describe(path).sample_rate
    name = int(microphone_name) if microphone_name and microphone_name.isdecimal() else microphone_name
    rate = microphone_rate(name)
    return microphone(rate, statistics, name), rate


def _print_statistics(statistics: "LiveStatistics") -> None:
    import numpy as np

    if not statistics.latencies:
        print("no predictions: the sound was shorter than one window", file=sys.stderr)
        return
    median, high, most = 1000 * np.percentile(np.array(statistics.latencies), (50, 95, 100))
    print(
        f"{len(statistics.latencies):,} windows in {statistics.heard_seconds:.1f} s of sound: latency {median:.1f} ms "
        f"(median), {high:.1f} ms (95th percentile), {most:.1f} ms (maximum); real-time factor "
        f"{statistics.real_time_factor:.4f}",
        file=sys.stderr,
    )
    if statistics.dropped_seconds:
        print(
            f"{statistics.dropped_seconds:.1f} s of sound were dropped, as the classifier is slower than real time; "
            "give a longer --hop",
            file=sys.stderr,
        )
