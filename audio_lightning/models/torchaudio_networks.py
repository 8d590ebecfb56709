"""torchaudio's waveform networks, published pipelines and resampling.

This is the only module that imports torchaudio, whose compiled extension fails to load with some versions of torch
and CUDA. The networks do not use the extension: if ``import torchaudio`` fails, they are loaded from the same source
files, and the pipelines and the resampling are not available.
"""

import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError


def load_package(name: str, folder: Path) -> ModuleType:
    """Import the package in a folder under the given name, without importing its parent packages."""
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


import_error: Exception | None = None
"""Exception with which the import of torchaudio failed, or None."""

try:
    from torchaudio import functional, pipelines
    from torchaudio.models import wav2vec2

    networks: Any = wav2vec2
except (ImportError, OSError, RuntimeError) as error:  # built for another version of torch or CUDA
    installed = find_spec("torchaudio")
    if installed is None or installed.origin is None:
        raise
    import_error = error
    networks = load_package("torchaudio_wav2vec2", Path(installed.origin).parent / "models/wav2vec2")

if TYPE_CHECKING:
    from torchaudio.models import Wav2Vec2Model as Wav2Vec2Model
    from torchaudio.pipelines import Wav2Vec2Bundle
else:
    Wav2Vec2Model = networks.Wav2Vec2Model


def resampled(waveform: Float[Tensor, "batch time"], rate: int, wanted: int) -> Float[Tensor, "batch longer"]:
    """Resample waveforms, given rates in hertz, by band-limited interpolation (``torchaudio.functional.resample``).

    Raises:
        ConfigError: torchaudio cannot be imported.
    """
    if import_error is not None:
        raise ConfigError(
            f"resample=true: torchaudio {version('torchaudio')} cannot be imported with torch {version('torch')} "
            f"({shorten(str(import_error), 200)}); install versions of both that fit, or use data.sample_rate={wanted}"
        )
    return functional.resample(waveform, rate, wanted)


def wav2vec2_bundle(name: str) -> "Wav2Vec2Bundle":
    """Return a published network of :mod:`torchaudio.pipelines`.

    Raises:
        ConfigError: torchaudio cannot be imported, or has no such network.
    """
    if import_error is not None:
        raise ConfigError(
            f"model.pretrained=torchaudio:{name}: torchaudio {version('torchaudio')} cannot be imported with torch "
            f"{version('torch')} ({shorten(str(import_error), 200)}); install versions of both that fit, or name a "
            "network of the Hugging Face hub, such as facebook/wav2vec2-base"
        )
    published = {key: getattr(pipelines, key) for key in pipelines.__all__}
    bundles = {key: bundle for key, bundle in published.items() if isinstance(bundle, pipelines.Wav2Vec2Bundle)}
    if name not in bundles:
        raise ConfigError(
            f"model.pretrained=torchaudio:{name}: torchaudio has no such pipeline"
            + did_you_mean(name, bundles, listing="it has")
        )
    return bundles[name]
