"""The command itself."""

from typer.testing import CliRunner

from audio_lightning import __version__
from audio_lightning.cli.main import app


def test_versions_are_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"audio-lightning {__version__}\nPython 3.")
    assert "torch 2." in result.stdout
