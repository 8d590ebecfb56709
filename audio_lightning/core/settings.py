"""Groups of arguments whose keys are not nested in a configuration."""


class Settings:
    """Base class of argument groups: dataclasses whose fields a configuration does not nest.

    A data source has the argument ``clips: ClipSettings``, but the key is ``data.sample_rate``, not
    ``data.clips.sample_rate`` (:func:`audio_lightning.config.targets.build`). All fields have defaults; the default of
    the argument may override them.
    """
