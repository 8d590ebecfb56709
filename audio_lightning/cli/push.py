"""``audio-lightning push``: upload a trained classifier to the Hugging Face hub."""

from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, find_existing
from audio_lightning.cli.output import print_next


@exits
def push_command(
    checkpoint: Checkpoint,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Name of the model on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make the model private, if it is new.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files without uploading them.")] = False,
) -> None:
    """Upload a classifier to the Hugging Face hub: model.ckpt, its card as README.md, config.yaml and metrics.json.

    The card is the current MODEL_CARD.md of the run or fit. Absolute paths are reduced to their last component. Log in
    first with `hf auth login`, or set HF_TOKEN.
    """
    path = find_existing(checkpoint)
    from audio_lightning.core.files import read_text
    from audio_lightning.inference.hub import push
    from audio_lightning.report.card_contents import folder_of
    from audio_lightning.report.model_card import model_card
    from audio_lightning.run_folder import RunFolder

    folder = folder_of(path)
    card = None if folder is None else RunFolder(folder).card
    text = read_text(card) if card is not None and card.is_file() else model_card(path)
    found = push(path, text, name, folder=folder, private=private, dry_run=dry_run)
    for file, size in found.files.items():
        print(f"{file}: {size:,} bytes")
    print(f"{'would be uploaded to' if dry_run else 'uploaded:'} {found.url}")
    if not dry_run:
        print_next("audio-lightning", "predict", f"hf://{found.name}", "FILE.wav")
