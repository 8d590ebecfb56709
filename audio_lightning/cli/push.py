"""``audio-lightning push``: upload a trained classifier to the Hugging Face hub."""

import sys
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
    license: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="ID", help="Licence of the model, such as mit or cc-by-4.0; default: card.license."
        ),
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license-name", metavar="NAME", help="Name of the licence, with --license other.")
    ] = None,
    license_link: Annotated[
        str | None, typer.Option("--license-link", metavar="URL", help="Link to the licence, with --license other.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files without uploading them.")] = False,
) -> None:
    """Upload a classifier to the Hugging Face hub: model.ckpt, its card as README.md, config.yaml and metrics.json.

    The card is the current MODEL_CARD.md of the run or fit; --license replaces the licence in its header. Absolute
    paths are reduced to their last component. Log in first with `hf auth login`, or set HF_TOKEN.
    """
    from audio_lightning.config.licences import make_licence

    licence = make_licence(
        license, license_name, license_link, options=("--license", "--license-name", "--license-link")
    )
    path = find_existing(checkpoint)
    from audio_lightning.core.files import read_text
    from audio_lightning.inference.hub import push
    from audio_lightning.report.card_contents import folder_of
    from audio_lightning.report.model_card import shared_card
    from audio_lightning.run_folder import RunFolder

    folder = folder_of(path)
    card = None if folder is None else RunFolder(folder).card
    edited = read_text(card) if card is not None and card.is_file() else None
    text, conflicts = shared_card(path, edited, licence)
    for conflict in conflicts:
        print(f"warning: {conflict}", file=sys.stderr)
    found = push(path, text, name, folder=folder, licence=licence, private=private, dry_run=dry_run)
    for file, size in found.files.items():
        print(f"{file}: {size:,} bytes")
    print(f"{'would be uploaded to' if dry_run else 'uploaded:'} {found.url}")
    if not dry_run:
        print_next("audio-lightning", "predict", f"hf://{found.name}", "FILE.wav")
