"""Vision transformers of timm on spectrograms: every layer equals that of timm on the same filter bank."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tiny
import torch
from running import run
from safetensors.torch import load_file, save_file
from test_published_transformers import clip
from torch import Tensor, nn

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.features.fbank import FBank
from audio_lightning.inference.load import load_classifier
from audio_lightning.models.pretrained import hub_files
from audio_lightning.models.pretrained.registry import make_backbone, required_rate
from audio_lightning.models.pretrained.timm_encoder import TimmEncoder
from audio_lightning.models.published import Published

pytestmark = pytest.mark.published

MEAN, STD = -4.2677393, 4.5689974
"""Statistics of the energies in AudioSet, as on the model cards of AudioMAE."""

FRAMES, BANDS, PATCH = 64, 32, 8
SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2, "patch_size": PATCH}
SIZE = {"img_size": [FRAMES, BANDS], "in_chans": 1}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("vit_tiny_patch16_224", {**SMALL, "global_pool": "avg"}),
    "token": ("vit_tiny_patch16_224", {**SMALL, "reg_tokens": 3, "qk_norm": True, "init_values": 0.5}),
    "deit": ("deit_tiny_distilled_patch16_224", SMALL),
    "beit": ("beit_base_patch16_224", SMALL),
    "eva": ("eva02_tiny_patch14_224", SMALL),
}


@pytest.fixture
def library() -> ModuleType:
    return pytest.importorskip("timm")


def write(library: ModuleType, folder: Path, name: str = "mean", **published: Any) -> Any:
    """A network with a classifier in the layout of the hub, with weights large enough to reveal errors.

    The description is that of AudioMAE, in which the size of the input is among ``pretrained_cfg`` alone.
    """
    architecture, options = CASES[name]
    torch.manual_seed(0)
    network = library.create_model(architecture, num_classes=5, **options, in_chans=1, img_size=(FRAMES, BANDS))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir(exist_ok=True)
    described = {
        "architecture": architecture,
        "num_classes": 5,
        "num_features": 32,
        "global_pool": "avg",
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [1, FRAMES, BANDS],
            "fixed_input_size": True,
            "classifier": "head",
            **published,
        },
        "model_args": {**options, "num_classes": 5, "drop_rate": 0.3, "drop_path_rate": 0.4},
    }
    (folder / "config.json").write_text(json.dumps(described))
    save_file(network.state_dict(), folder / "model.safetensors")
    return network.eval()


def filter_bank(sound: Tensor) -> Tensor:
    """Kaldi's log energies of one clip, ``[frames, bands]``, as on the model cards of AudioMAE."""
    try:
        from torchaudio.compliance import kaldi
    except ImportError:
        bank = FBank(sample_rate=16_000, num_samples=16_000, n_mels=BANDS, normalize="none")
        return bank.compute(sound)[0, 0].mT
    return kaldi.fbank(sound, htk_compat=True, window_type="hanning", num_mel_bins=BANDS)


def expected(network: Any, sound: Tensor, mean: float = MEAN, std: float = STD) -> tuple[list[Tensor], Tensor]:
    """The layers of one clip as timm computes them, and the logits of the published classifier."""
    energies = filter_bank(sound)
    kept = -(-min(len(energies), FRAMES) // PATCH)
    padded = nn.functional.pad(energies, (0, 0, 0, max(0, FRAMES - len(energies))))[:FRAMES]
    found: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *seen: found.append(seen[-1])) for block in network.blocks]
    features = network.forward_features(((padded - mean) / (2 * std))[None, None])
    for hook in hooks:
        hook.remove()
    columns, rows = FRAMES // PATCH, BANDS // PATCH
    patches = [tokens[:, -columns * rows :].reshape(1, columns, rows, -1) for tokens in found]
    layers = [one.mean(2).mT[..., :kept] for one in patches]
    pooled = network.forward_head(features, pre_logits=True)
    return [*layers, pooled[..., None]], network.forward_head(features)


def encoder(folder: Path) -> TimmEncoder:
    made = TimmEncoder(16_000, str(folder)).eval()
    made.load()
    return made


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("samples", [300, 400, 4239, 10_480, 14_000])
def test_every_layer_equals_timms(name: str, samples: int, library: ModuleType, tmp_path: Path) -> None:
    """For clips shorter than a window or the network's input, of the same length, and longer."""
    network = write(library, tmp_path, name)
    made = encoder(tmp_path)
    sound = clip(samples)

    layers = made(sound)
    others, logits = expected(network, nn.functional.pad(sound, (0, max(0, 400 - samples))))

    assert list(layers) == ["layer1", "layer2", "embedding"]
    assert {layer: state.shape[1] for layer, state in layers.items()} == made.layers
    assert made.single == {"embedding"}
    for found, other in zip(layers.values(), others, strict=True):
        assert other.std() > 0.05
        torch.testing.assert_close(found, other, atol=1e-4, rtol=1e-4)
    if name != "deit":  # two classifiers
        torch.testing.assert_close(network.head(layers["embedding"][..., 0]), logits, atol=1e-4, rtol=1e-4)
    batch = made(torch.cat([0.1 * sound, sound]))
    torch.testing.assert_close(batch["layer2"][1:], layers["layer2"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("published", "mean", "std"),
    [
        ({"mean": -5.5, "std": [3.0]}, -5.5, 3.0),
        ({"mean": [0], "std": [1]}, 0.0, 1.0),
        ({"mean": [0.5], "std": [0.5]}, MEAN, STD),
        ({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, MEAN, STD),
        ({"mean": None, "std": None}, MEAN, STD),
    ],
)
def test_statistics_of_energies_are_used_and_those_of_images_are_not(
    published: dict[str, Any], mean: float, std: float, library: ModuleType, tmp_path: Path
) -> None:
    network = write(library, tmp_path, **published)
    found = encoder(tmp_path)(clip(9000))["embedding"]
    torch.testing.assert_close(found, expected(network, clip(9000), mean, std)[0][-1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("layout", ["timm's own", "one mapping", "size among the arguments", "pickled"])
def test_other_layouts_of_the_hub_are_read(layout: str, library: ModuleType, tmp_path: Path) -> None:
    network = write(library, tmp_path)
    file = tmp_path / "config.json"
    stored = json.loads(file.read_text())
    if layout == "timm's own":
        (tmp_path / "model.safetensors").unlink()
        library.models.save_for_hf(network, tmp_path, model_args={**CASES["mean"][1], **SIZE})
    elif layout == "one mapping":
        published = stored.pop("pretrained_cfg")
        file.write_text(json.dumps({**published, **stored}))
    elif layout == "size among the arguments":
        stored["pretrained_cfg"]["input_size"] = [3, 224, 224]
        stored["model_args"] |= SIZE
        file.write_text(json.dumps(stored))
    else:
        (tmp_path / "model.safetensors").unlink()
        torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    layers = encoder(tmp_path)(clip(9000))
    for found, other in zip(layers.values(), expected(network, clip(9000))[0], strict=True):
        torch.testing.assert_close(found, other, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_it_is_rebuilt_without_the_folder(name: str, library: ModuleType, tmp_path: Path) -> None:
    write(library, tmp_path / "net", name, mean=-5.0, std=3.0)
    source = str(tmp_path / "net")
    made = make_backbone(source, 16_000, pretrained=True).eval()
    shutil.rmtree(source)

    architecture = json.loads(json.dumps(made.inferred_options["architecture"]))
    again = make_backbone(source, 16_000, pretrained=False, architecture=architecture).eval()
    again.load_state_dict(made.state_dict())

    assert isinstance(again, TimmEncoder)
    assert architecture == made.architecture == again.architecture
    assert (again.layers, again.title, again.num_parameters) == (made.layers, made.title, made.num_parameters)
    for found, state in zip(again(clip(9000)).values(), made(clip(9000)).values(), strict=True):
        assert torch.equal(found, state)
    with pytest.raises(ConfigError, match=r"the source of these weights is unknown; name the folder"):
        again.load()


@pytest.mark.parametrize("name", CASES)
def test_published_names_and_shapes_are_checked_without_memory(name: str, library: ModuleType, tmp_path: Path) -> None:
    network = write(library, tmp_path, name)
    made = encoder(tmp_path)
    kept = {f"network.{tensor}" for tensor in network.state_dict() if not tensor.startswith("head")}
    assert made.state_dict().keys() == kept
    for samples in (round(made.least_seconds * 16_000), 9000):
        with torch.no_grad():
            states = made(clip(2 * samples).reshape(2, samples))
        with torch.device("meta"):
            described = TimmEncoder(16_000, str(tmp_path))
            described.load()
            shapes = {layer: state.shape for layer, state in described(torch.empty(2, samples)).items()}
        assert {parameter.device.type for parameter in described.parameters()} == {"meta"}
        assert shapes == {layer: state.shape for layer, state in states.items()}


def test_all_weights_and_patches_are_used_in_training(library: ModuleType, tmp_path: Path) -> None:
    write(library, tmp_path)
    made = encoder(tmp_path)
    quiet = made(clip(9000))
    states = made.train()(clip(9000))
    for layer, state in states.items():
        torch.testing.assert_close(state, quiet[layer])  # nothing is dropped
    sum((state.square().mean() for state in states.values()), torch.zeros(())).backward()
    for tensor, parameter in made.named_parameters():
        assert parameter.grad is not None, tensor
        assert parameter.grad.isfinite().all(), tensor
        assert parameter.grad.abs().max() > 0, tensor


def test_a_published_network_is_fine_tuned(library: ModuleType, tmp_path: Path) -> None:
    write(library, tmp_path)
    model = Published(FeatureShape("waveform", (1, 8000), sample_rate=16_000), 3, backbone=str(tmp_path))
    assert isinstance(model.backbone, TimmEncoder)
    assert list(model.stages()) == ["network.patch_embed", "network.blocks.0", "network.blocks.1", "head"]
    stored = load_file(tmp_path / "model.safetensors")
    before = model.backbone.network.state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in before.items())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sounds, labels = clip(3 * 8000).reshape(3, 1, 8000), torch.tensor([0, 1, 2])
    loss = nn.functional.cross_entropy(model(sounds), labels)
    loss.backward()
    optimizer.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    after = model.backbone.network.state_dict()
    assert all(not torch.equal(tensor, stored[name]) for name, tensor in after.items())
    assert nn.functional.cross_entropy(model(sounds), labels) < loss


@pytest.mark.parametrize("route", ["frozen", "trained further"])
def test_a_checkpoint_contains_it(route: str, library: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    write(library, folder)
    assert required_rate(str(folder)) == 16_000
    root = tiny.write_urbansound8k(tmp_path / "data")
    common = ["data.sample_rate=16000", "trainer.max_epochs=1"]
    if route == "frozen":
        chosen = [f"feature.backbone={folder}", "feature.pretrained=true"]
        run(root, tmp_path / "run", *chosen, *common, settings=tiny.FROZEN_OVERRIDES)
    else:
        chosen = ["feature=waveform", "feature.normalize=none", "model=published", f"model.backbone={folder}"]
        chosen += ["finetune=full", "finetune.unfreeze_epoch=1"]
        run(root, tmp_path / "run", *chosen, *common, settings=tiny.FROZEN_OVERRIDES[3:])
    trained = load_classifier(tmp_path / "run")
    assert isinstance(trained, AudioClassifier)
    sounds = 0.1 * torch.randn(3, trained.task.num_samples, generator=torch.Generator().manual_seed(0))
    before = trained(sounds)
    shutil.rmtree(folder)
    again = load_classifier(tmp_path / "run")
    torch.testing.assert_close(again(sounds), before)


@pytest.mark.parametrize("prefix", ["", "hf-hub:", "hf_hub:"])
def test_hub_names_in_timms_notation_are_accepted(
    prefix: str, library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library, tmp_path)
    asked = []

    def folder(name: str, _: str) -> Path:
        asked.append(name)
        return tmp_path

    monkeypatch.setattr(hub_files, "hub_folder", folder)
    name = f"{prefix}gaunernst/vit_base_patch16_1024_128.audiomae_as2m"
    assert required_rate(name) == 16_000
    assert isinstance(make_backbone(name, None, pretrained=True), TimmEncoder)
    assert set(asked) == {"gaunernst/vit_base_patch16_1024_128.audiomae_as2m"}
    with pytest.raises(ConfigError, match=r"takes sounds of 16000 Hz, and the clips have 8000 Hz"):
        make_backbone(name, 8000, pretrained=True)


def test_a_missing_package_raises_an_error_with_the_install_command(
    library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library, tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError) as raised:
        TimmEncoder(16_000, str(tmp_path))
    assert str(raised.value) == (
        "backbone: timm's vit_tiny_patch16_224 needs the package timm; pip install 'audio-lightning[timm]'"
    )


def rewrite(**changes: Any) -> Callable[[Path], object]:
    """Change entries of a description."""

    def change(folder: Path) -> None:
        stored = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**stored, **changes}))

    return change


def arguments(**changes: Any) -> Callable[[Path], object]:
    return rewrite(model_args={**CASES["mean"][1], **changes})


def reweigh(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    """Change the published tensors."""

    def spoil(folder: Path) -> None:
        stored = load_file(folder / "model.safetensors")
        change(stored)
        save_file(stored, folder / "model.safetensors")

    return spoil


def config(size: Any = (1, FRAMES, BANDS), **changes: Any) -> Callable[[Path], object]:
    return rewrite(pretrained_cfg={"input_size": size, **changes})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rewrite(architecture="vit_tiny_patch16_225"), r"has architecture=vit_tiny_patch16_225, and timm .* no such n"),
        (rewrite(architecture="beats"), r"has architecture=beats, and timm \S+ has no such network"),
        (rewrite(architecture=None), r"config\.json has architecture=None, expected a name of timm\.list_models\(\)"),
        (rewrite(architecture="hf-hub:evil/network"), r"has architecture='hf-hub:evil/network', expected a name of"),
        (rewrite(architecture="../vit"), r"has architecture='\.\./vit', expected a name of timm\.list_models\(\)"),
        (rewrite(model_type="bert"), r"has model_type='bert', expected one of: audio-.*, whisper; or, for a network"),
        (rewrite(model_args=[1]), r"config\.json has model_args=\[1\], expected an object"),
        (rewrite(pretrained_cfg="none"), r"config\.json has pretrained_cfg='none', expected an object"),
        (
            config(None),
            r"has neither an input_size in pretrained_cfg nor in_chans and img_size in model_args; add",
        ),
        (config([64, 32]), r"has neither an input_size in pretrained_cfg nor in_chans and img_size in model_args"),
        (
            config([3, 224, 224]),
            r"inputs \[3, 224, 224\], expected spectrograms \[1, FRAMES, BANDS\] .* use model=timm",
        ),
        (config([3, 64, 32]), r"for inputs \[3, 64, 32\], expected spectrograms \[1, FRAMES, BANDS\] of at most"),
        (config([1, 128, 1024]), r"for inputs \[1, 128, 1024\], expected spectrograms \[1, FRAMES, BANDS\] of at most"),
        (config([1, "64", 32]), r"has img_size=\['64', 32\]; use a number from 1 to 16384, or two, time first"),
        (config([1, 0, 32]), r"has img_size=\[0, 32\]; use a number from 1 to 16384, or two"),
        (config([True, 64, 32]), r"has in_chans=True; use a value of type int"),
        (config(mean="loud"), r"has mean='loud'; use a finite number, or a list of one"),
        (config(mean=[]), r"has mean=\[\]; use a finite number, or a list of one"),
        (config(std=float("nan")), r"has std=nan; use a finite number"),
        (config(mean=1, std=0), r"has std=0\.0; use a positive number"),
        (arguments(checkpoint_path="/tmp/x"), r"has an argument 'checkpoint_path' in model_args, which is not supp"),
        (arguments(pretrained=True), r"has an argument 'pretrained' in model_args, which is not supported; use only"),
        (arguments(block_fn="os.system"), r"has an argument 'block_fn' in model_args, which is not supported"),
        (arguments(depth="two"), r"has depth='two'; use a value of type int"),
        (arguments(depth=10**9), r"has depth=1000000000; use a number from 0 to 16384"),
        (arguments(depth=0), r"timm's vit_tiny_patch16_224 cannot be built with depth=0, .*, which .*config\.json"),
        (arguments(mlp_ratio=float("nan")), r"has mlp_ratio=nan; use a number from 0 to 16384"),
        (arguments(norm_layer=["os", "system"]), r"has norm_layer=\['os', 'system'\]; use a value of type str"),
        (
            arguments(act_layer="os.system"),
            r"vit_tiny_patch16_224 cannot be built with .*act_layer='os\.system', .*: KeyError",
        ),
        (
            arguments(num_heads=5),
            r"cannot be built with .*num_heads=5, .*, which .*config\.json describes: .*; correct its model_args, or",
        ),
        (
            arguments(global_pool=""),
            r"whose embedding has the shape \[1, 33, 32\], not \[batch, channels\]; expected a",
        ),
        (arguments(embed_dim=64), r"contains no weights of timm's vit_tiny_patch16_224: .*size mismatch"),
        (arguments(depth=3), r"contains no weights of timm's vit_tiny_patch16_224: 'blocks\.2\..*' is missing"),
        (arguments(depth=1), r"weights in .* have 'blocks\.1\.attn\.proj\.bias', .*, which timm's vit.*, as"),
        (
            arguments(global_pool="token"),
            r"contains no weights of timm's vit_tiny_patch16_224: 'norm\.weight' is missing",
        ),
        (
            rewrite(architecture="resnet18", model_args={}),
            r"timm's resnet18 cannot be built with in_chans=1, img_size=\[64, 32\], .*'img_size'.* use model=timm",
        ),
        (
            rewrite(architecture="swin_tiny_patch4_window7_224", model_args={}),
            r"swin_tiny_patch4_window7_224, whose layers are not all on one grid of patches; expected a vision transf",
        ),
        (
            rewrite(architecture="mixer_s16_224", model_args={}),
            r"mixer_s16_224, which has no grid of patches \(patch_embed\.grid_size\); expected a vision transformer",
        ),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json cannot be read: .*No such file"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read: "),
        (reweigh(lambda stored: stored.pop("cls_token")), r"contains no weights of .*: 'cls_token' is missing"),
        (
            reweigh(lambda stored: stored.update(gate=torch.ones(1))),
            r"the weights in .* have 'gate', which timm's vit_",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"weights"),
            r"backbone: the weights in .* cannot be read: ",
        ),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"holds neither model\.safetensors nor pytorch_model\.bin",
        ),
    ],
)
def test_damaged_and_unsuitable_folders_are_refused_in_one_line(
    spoil: Callable[[Path], object], message: str, library: ModuleType, tmp_path: Path
) -> None:
    write(library, tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=message) as raised:
        make_backbone(str(tmp_path), 16_000, pretrained=True)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"architecture": "vit_tiny_patch16_224"}, r"^backbone: the architecture has model_args=None, expected a map"),
        (
            {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": [64, 32]}},
            r"for inputs \[None, 64, 32\], expected spectrograms",
        ),
        (
            {"architecture": "vit_tiny_patch16_224", "model_args": {**SIZE, "checkpoint_path": "weights.bin"}},
            r"^backbone: the architecture has an argument 'checkpoint_path' in model_args, which is not supported",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(
    architecture: dict[str, Any], message: str, library: ModuleType
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_backbone("owner/network", 16_000, pretrained=False, architecture=architecture)


def test_a_network_must_return_the_outputs_of_its_blocks(
    library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in versions of timm whose networks had no such method."""
    write(library, tmp_path)
    monkeypatch.setattr(library.models.VisionTransformer, "forward_intermediates", None)
    with pytest.raises(ConfigError, match=r"timm's vit_.*, which does not return the outputs of its blocks "):
        make_backbone(str(tmp_path), 16_000, pretrained=True)


def test_nothing_in_a_folder_is_executed(library: ModuleType, tmp_path: Path) -> None:
    write(library, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"cls_token": Opened(tmp_path / "opened")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"backbone: the weights in .* cannot be read: "):
        make_backbone(str(tmp_path), 16_000, pretrained=True)
    assert not (tmp_path / "opened").exists()


class Opened:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)
