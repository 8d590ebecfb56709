"""Front ends: a batch of waveforms in, what the network sees out; one a file.

A class lives in the module that has its name in lower case (``LogMel`` in ``logmel``) and is imported from there when
it is first asked for, so that a front end costs only the libraries it needs itself.
"""

from audio_lightning.features.base import FrontEnd
from audio_lightning.lazy import by_module_name

__all__ = ["FrontEnd"]

__getattr__ = by_module_name(__name__)
