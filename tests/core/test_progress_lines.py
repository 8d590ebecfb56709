"""Progress lines where the output is not a terminal."""

from functools import partial

import pytest

from audio_lightning.core import progress


def test_each_kind_of_work_has_its_label(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_shown("preparing recordings") as show:
        partial(show, what="writing the demo recordings")(350, 350)
        show(1050, 1050)
    assert capsys.readouterr().out == "writing the demo recordings: 350/350\npreparing recordings: 1050/1050\n"
