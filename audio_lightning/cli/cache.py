"""``audio-lightning cache list|clear``: list or remove decoded recordings and embeddings of clips."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import command, print_next
from audio_lightning.core.text_tables import Column, print_table

if TYPE_CHECKING:
    from audio_lightning.data.store.cache import Cache

cache_app = typer.Typer(no_args_is_help=True, help="List or remove decoded recordings.")

Folder = Annotated[
    Path | None, typer.Option("--dir", help="Cache folder; default: $AUDIO_LIGHTNING_CACHE, or the user's cache.")
]


@cache_app.command("list")
@exits
def list_command(folder: Folder = None) -> None:
    """List the decoded data sets, the most recently used first."""
    from datetime import datetime

    from audio_lightning.data.store.embeddings import kept

    cache = _cache(folder)
    sets, embeddings = cache.sets(), kept(cache)
    if embeddings:
        size = sum(file.stat().st_size for file in embeddings)
        print(f"embeddings of published networks in {cache.root}: {len(embeddings)}, {size / 1e6:,.1f} MB")
    if not sets:
        print(f"{cache.root} contains no decoded recordings; a training decodes the recordings of its data")
        print_next("audio-lightning", "train", "data=folder", "data.root=DIR")
        return
    print(f"decoded recordings in {cache.root}")
    rows = [
        (
            datetime.fromtimestamp(decoded.used).strftime("%Y-%m-%d %H:%M"),
            f"{decoded.about['recordings']:,}",
            f"{decoded.about['seconds'] / 3600:.2f}",
            f"{decoded.about['sample_rate']:,} Hz",
            decoded.about["dtype"],
            f"{decoded.bytes / 1e6:,.1f}",
            decoded.about["root"],
        )
        for decoded in sets
    ]
    figures = (Column(name, "right", whole=True) for name in ("recordings", "hours", "rate", "type", "MB"))
    print_table((Column("used", whole=True), *figures, Column("decoded from", whole=True)), rows)
    total = sum(decoded.bytes for decoded in sets) / 1e9
    print(f"{len(sets)} data set{'s' * (len(sets) != 1)}, {total:.2f} GB")
    where: list[str | Path] = ["--dir", folder] if folder else []
    print("to remove all: " + command("audio-lightning", "cache", "clear", *where))


@cache_app.command("clear")
@exits
def clear_command(folder: Folder = None) -> None:
    """Remove all decoded data sets and embeddings; a training creates them again."""
    from audio_lightning.data.store.embeddings import clear

    cache = _cache(folder)
    removed = cache.clear() + clear(cache)
    print(f"{removed / 1e9:.2f} GB removed from {cache.root}; a training decodes the recordings again")
    print_next("audio-lightning", "train", "data=folder", "data.root=DIR")


def _cache(folder: Path | None) -> "Cache":
    from audio_lightning.data.store.cache import Cache, default_cache_dir

    return Cache(folder.expanduser() if folder else default_cache_dir())
