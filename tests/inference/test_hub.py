"""Classifiers on the Hugging Face hub, against a hub on this machine."""

import pickle
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from hub_server import COMMIT, TOKEN, Hub, serving
from typer.testing import CliRunner
from untrained import CNN, LSTM, write_member

import audio_lightning as al
from audio_lightning.classifier.checkpoint import read_contents, write_checkpoint
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.cli.main import app
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.hub import is_hub_name, pull, without_places
from audio_lightning.report.model_card import write_model_card

pytest.importorskip("huggingface_hub")

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's upload


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A local hub with a logged-in user."""
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its transfer is not of HTTP alone
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield found


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def one_line(text: str) -> str:
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 2000), 8000, subtype="FLOAT")
    return tmp_path / "a.wav"


def test_pushed_models_predict_the_same(trained: Path, sound: Path, hub: Hub) -> None:
    code, out, error = invoke("push", trained, "jane/tones")
    assert code == 0, error
    assert f"uploaded: {hub.url}/jane/tones" in out
    files = hub.models["jane/tones"]
    assert set(files) == {"README.md", "config.yaml", "metrics.json", "model.ckpt"}
    assert files["metrics.json"] == (trained / "metrics.json").read_bytes()
    before, after = (invoke("predict", name, sound) for name in (trained, "hf://jane/tones"))
    assert after == before
    assert after[0] == 0


def test_local_paths_are_not_uploaded(trained: Path, tiny_urbansound8k: Path, hub: Hub) -> None:
    assert "urban sound=8k" in (trained / "config.yaml").read_text(encoding="utf-8")
    assert invoke("push", trained, "jane/tones")[0] == 0
    files = hub.models["jane/tones"]
    for name, content in files.items():
        assert str(tiny_urbansound8k.parent).encode() not in content, name
        assert str(trained.parent).encode() not in content, name
    config = yaml.safe_load(files["config.yaml"])
    assert config["data"]["root"] == tiny_urbansound8k.name
    assert config["logger"] == {}


def test_dry_run_sends_no_request(trained: Path, hub: Hub) -> None:
    code, out, _ = invoke("push", trained, "jane/tones", "--dry-run")
    assert code == 0
    assert "model.ckpt: " in out
    assert f"would be uploaded to {hub.url}/jane/tones" in out
    assert hub.requests == []


def test_a_second_push_replaces_the_files(tmp_path: Path, hub: Hub) -> None:
    first, second = (write_member(tmp_path / f"{seed}.ckpt", *CNN, seed=seed) for seed in (0, 1))
    assert invoke("push", first, "jane/tones")[0] == 0
    before = hub.models["jane/tones"]["model.ckpt"]
    assert invoke("push", second, "jane/tones")[0] == 0
    assert hub.models["jane/tones"]["model.ckpt"] != before
    assert set(hub.models["jane/tones"]) == {"README.md", "model.ckpt"}


def test_card_of_the_folder_is_uploaded(trained: Path, tmp_path: Path, hub: Hub) -> None:
    """The user may have edited the card."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    text = write_model_card(run).read_text(encoding="utf-8") + "\nRecorded by us.\n"
    (run / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    assert invoke("push", run / "checkpoints/best.ckpt", "jane/tones")[0] == 0
    assert hub.models["jane/tones"]["README.md"].decode() == text


def test_licences_are_put_into_the_card_and_the_checkpoint(trained: Path, tmp_path: Path, hub: Hub) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = write_model_card(run).read_text(encoding="utf-8")
    assert invoke("push", run, "jane/tones", "--license", "cc-by-4.0")[0] == 0
    files = hub.models["jane/tones"]
    text = files["README.md"].decode()
    assert text.startswith("---\nlicense: cc-by-4.0\nlibrary_name: ")
    assert "The licence of this model is cc-by-4.0." in text
    assert yaml.safe_load(files["config.yaml"])["card"]["license"] == "cc-by-4.0"
    assert al.load("hf://jane/tones").config["card"]["license"] == "cc-by-4.0"
    assert (run / "MODEL_CARD.md").read_text(encoding="utf-8") == before


def test_licences_are_put_into_an_edited_card(trained: Path, tmp_path: Path, hub: Hub) -> None:
    """Only the entries of the licence change."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    text = "---\n\n# Birds\n\n---\nlicense: mit\n---\n"
    own = f"---\n# ours\nlicense:\n- mit\n- bsd\nlibrary_name: own\nlicense_name: x\n{text}"
    (run / "MODEL_CARD.md").write_text(own, encoding="utf-8")
    other = ["--license", "other", "--license-name", "lab: licence", "--license-link", "https://example.org"]
    code, _, error = invoke("push", run, "jane/tones", *other)
    assert code == 0, error
    header = "license: other\nlicense_name: 'lab: licence'\nlicense_link: https://example.org\n"
    assert hub.models["jane/tones"]["README.md"].decode() == f"---\n{header}# ours\nlibrary_name: own\n{text}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--license", "MIT"], "--license=MIT: no licence of the Hugging Face hub; did you mean mit?"),
        (["--license", "other", "--license-name", "a"], "--license=other: needs the name and the link of the licence"),
        (["--license-link", "https://example.org"], "--license-link: only for --license=other"),
    ],
)
def test_invalid_licences_are_not_uploaded(trained: Path, hub: Hub, options: list[str], said: str) -> None:
    code, _, error = invoke("push", trained, "jane/tones", *options)
    assert code == 2
    assert said in one_line(error)
    assert hub.requests == []


def test_a_card_without_a_header_is_refused(trained: Path, tmp_path: Path, hub: Hub) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "MODEL_CARD.md").write_text("# Birds\n", encoding="utf-8")
    code, _, error = invoke("push", run, "jane/tones", "--license", "mit")
    assert code == 2
    assert "has no header" in one_line(error)
    assert hub.requests == []


def test_licences_that_weights_forbid_are_a_warning(tmp_path: Path, hub: Hub) -> None:
    network = tmp_path / "network"
    network.mkdir()
    (network / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    contents = read_contents(write_member(tmp_path / "m.ckpt", *CNN))
    contents["hyper_parameters"]["config"]["model"]["pretrained"] = str(network)
    write_checkpoint(tmp_path / "m.ckpt", contents)
    code, _, error = invoke("push", tmp_path / "m.ckpt", "jane/tones", "--license", "mit")
    assert code == 0
    assert error.startswith(
        "warning: the model's licence is mit, but it began with network, whose licence cc-by-nc-4.0"
    )
    assert error.count("warning: ") == 1


def test_private_models(trained: Path, hub: Hub) -> None:
    assert invoke("push", trained, "jane/tones", "--private")[0] == 0
    assert hub.private == {"jane/tones"}


def test_revisions_are_requested(tmp_path: Path, hub: Hub) -> None:
    hub.models["a/b"] = {"model.ckpt": write_member(tmp_path / "m.ckpt", *CNN).read_bytes()}
    for name in ("hf://a/b@v1", f"hf://a/b@{COMMIT}"):
        assert al.load(name).task.num_classes == 3
    assert any("/resolve/v1/model.ckpt" in request for request in hub.requests)


def test_ensembles_are_pushed_and_pulled(tmp_path: Path, sound: Path, hub: Hub) -> None:
    members = [write_member(tmp_path / f"{name}.ckpt", *model) for name, model in (("cnn", CNN), ("lstm", LSTM))]
    write_ensemble(tmp_path / "model.ckpt", members, [2, 1], notes={"folder": "/home/jane/fit"})
    assert invoke("push", tmp_path / "model.ckpt", "jane/both")[0] == 0
    assert b"/home/jane" not in hub.models["jane/both"]["model.ckpt"]
    before, after = (al.predict(name, sound) for name in (tmp_path / "model.ckpt", "hf://jane/both"))
    assert after.equals(before)


def test_optimizer_states_are_not_uploaded(tmp_path: Path) -> None:
    contents = read_contents(write_member(tmp_path / "m.ckpt", *CNN))
    assert "optimizer_states" in contents
    assert set(without_places(contents)) == {"hyper_parameters", "state_dict", "audio_lightning"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf://a/b", "Repository Not Found"),
        ("hf://a/empty", "expected a model with model.ckpt"),
        ("hf://a/full@v9", "Revision Not Found"),
        ("hf://a", "expected hf://OWNER/NAME"),
        ("hf://a/b/c", "expected hf://OWNER/NAME"),
        ("hf://../x@y z", "expected hf://OWNER/NAME"),
    ],
)
def test_missing_models_are_reported_in_one_line(hub: Hub, sound: Path, name: str, said: str) -> None:
    hub.models = {"a/empty": {"README.md": b""}, "a/full": {"model.ckpt": b"PK"}}
    code, _, error = invoke("predict", name, sound)
    assert code == 2
    with pytest.raises(ConfigError, match=said):
        pull(name)
    one_line(error)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(100)])
def test_untrusted_files_are_rejected(hub: Hub, sound: Path, content: bytes) -> None:
    hub.models["a/b"] = {"model.ckpt": content}
    code, _, error = invoke("predict", "hf://a/b", sound)
    assert code == 2
    assert "not a checkpoint" in one_line(error)


def test_untrusted_code_is_not_executed(hub: Hub, sound: Path, tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "run",)

    torch.save({"state_dict": Code()}, tmp_path / "evil.ckpt")
    hub.models["a/b"] = {"model.ckpt": (tmp_path / "evil.ckpt").read_bytes()}
    assert invoke("predict", "hf://a/b", sound)[0] == 2
    assert not (tmp_path / "run").exists()


def test_missing_login_is_reported_with_the_remedy(trained: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, _, error = invoke("push", trained, "jane/tones")
    assert code == 2
    assert "hf auth login" in one_line(error)
    assert hub.models == {}


@pytest.mark.parametrize("name", ["tones", "a/b/c", "a b/c", "a/b@main", "../b", ""])
def test_invalid_names_are_rejected_without_a_request(trained: Path, hub: Hub, name: str) -> None:
    code, _, error = invoke("push", trained, name)
    assert code == 2
    assert "OWNER/NAME" in one_line(error)
    assert hub.requests == []


@pytest.mark.parametrize("status", [500, 503])
def test_server_errors_are_reported_in_one_line(trained: Path, hub: Hub, status: int) -> None:
    hub.status = status
    code, _, error = invoke("push", trained, "jane/tones")
    assert code == 2
    assert str(status) in one_line(error)


def test_missing_network_is_reported_in_one_line(
    trained: Path, sound: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    for arguments in (["push", trained, "a/b"], ["predict", "hf://a/b", sound]):
        code, _, error = invoke(*arguments)
        assert code == 2
        assert "Connection refused" in one_line(error)
        assert "check the network" in one_line(error)
    assert time.monotonic() - started < 20  # huggingface_hub alone tries for 24 s to download a file


def test_downloaded_models_are_available_offline(
    tmp_path: Path, sound: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["a/b"] = {"model.ckpt": write_member(tmp_path / "m.ckpt", *CNN).read_bytes()}
    assert invoke("predict", "hf://a/b", sound)[0] == 0
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert invoke("predict", "hf://a/b", sound)[0] == 0


def test_a_downloaded_folder_is_a_model(tmp_path: Path, sound: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    write_member(folder / "model.ckpt", *CNN)
    (folder / "README.md").write_text("a card")
    assert invoke("predict", folder, sound)[0] == 0


def test_missing_package_is_reported(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, error = invoke("predict", "hf://a/b", sound)
    assert code == 2
    assert "pip install 'audio-lightning[hub]'" in one_line(error)


def test_hub_names_as_text_and_as_paths() -> None:
    assert is_hub_name("hf://a/b")
    assert is_hub_name(Path("hf://a/b"))
    assert not is_hub_name("hf/a/b")
