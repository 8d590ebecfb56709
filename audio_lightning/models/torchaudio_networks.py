"""Networks of torchaudio on the waveform, and the pipelines published with it: the only module that imports it.

torchaudio has a compiled extension that loads beside some versions of torch and CUDA only. These networks do not use
it: where ``import torchaudio`` fails, they come from the same sources, and only the pipelines are missing.
"""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from audio_lightning.errors import ConfigError


def load_package(name: str, folder: Path) -> ModuleType:
    """Import the package in a folder under a name of its own, without the packages that it lies in."""
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


import_error: Exception | None = None
"""Why torchaudio cannot be imported."""

try:
    from torchaudio import pipelines
    from torchaudio.models import wav2vec2

    networks: Any = wav2vec2
except (ImportError, OSError, RuntimeError) as error:  # another interface of torch, or another version of CUDA
    installed = find_spec("torchaudio")
    if installed is None or installed.origin is None:
        raise
    import_error = error
    networks = load_package("torchaudio_wav2vec2", Path(installed.origin).parent / "models/wav2vec2")

if TYPE_CHECKING:
    from torchaudio.models import Wav2Vec2Model
    from torchaudio.pipelines import Wav2Vec2Bundle
else:
    Wav2Vec2Model = networks.Wav2Vec2Model


def wav2vec2_bundles() -> "dict[str, Wav2Vec2Bundle]":
    """Published networks of :mod:`torchaudio.pipelines` by name.

    Raises:
        ConfigError: torchaudio cannot be imported.
    """
    if import_error is not None:
        raise ConfigError(
            "model.pretrained=torchaudio:...: torchaudio cannot be imported beside the installed torch "
            f"({' '.join(str(import_error).split())[:200]}); install the torch that it was built for, or name the "
            "network on the Hugging Face hub, such as facebook/wav2vec2-base"
        )
    published = ((name, getattr(pipelines, name)) for name in pipelines.__all__)
    return {name: bundle for name, bundle in published if isinstance(bundle, pipelines.Wav2Vec2Bundle)}
