"""``audio-lightning plan``: measure a data set and derive the settings of its training."""

from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.completion import ConfigDir, complete_override
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_demo_data, print_next, print_written
from audio_lightning.cli.targets import named_files, protect
from audio_lightning.core.text_tables import Column, print_table

WIDTH = 120
"""Characters per line if the output is not a terminal."""

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="data=NAME data.root=DIR [KEY=VALUE]",
        help="The data, as for a training, and settings to keep.",
        autocompletion=complete_override,
    ),
]


@exits
def plan_command(
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="Folder for the plan.")] = Path("plan"),
    config_dir: ConfigDir = None,
) -> None:
    """Measure a data set, derive settings for its training with their reasons, and write them as a recipe.

    The only training is a few steps on noise, to measure their time. The plan is OUTPUT/experiment/plan.yaml, which you
    may edit; `python train.py --config-dir OUTPUT experiment=plan` trains it, and sweep.py varies it.
    """
    from audio_lightning.api.planning import plan
    from audio_lightning.config import quote_paths
    from audio_lightning.fit.plan import FILE
    from audio_lightning.sweeps.progress import duration

    protect("--output", [output / FILE], named_files(overrides or []))
    print_demo_data(quote_paths(overrides or []))
    found = plan(*(overrides or []), folder=output, config_dir=config_dir)
    columns = (Column("property", whole=True), Column("found"), Column("used for"))
    print_table(columns, [(row.name, row.value, ", ".join(row.uses)) for row in found.properties], piped_width=WIDTH)
    print()
    rows = [(key, "null" if value is None else str(value), why) for key, (value, why) in found.choices.items()]
    columns = (Column("setting", whole=True), Column("value", whole=True), Column("because"))
    print_table(columns, rows, keys=2, piped_width=WIDTH)
    print()
    machine = found.machine
    step = f"{1000 * found.step_seconds:.0f} ms per step"
    print(f"{machine.device}, {machine.cores} cores, {machine.memory_gb:.0f} GB: {step}")
    print(f"{found.steps:,} steps: about {duration(found.seconds)}, plus decoding, validation and test")
    print_written(output / FILE)
    print_next("python", "train.py", "--config-dir", output, "experiment=plan")
