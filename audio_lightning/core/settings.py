"""Groups of arguments that a configuration states flat."""


class Settings:
    """Base of dataclasses whose fields stand in a configuration beside the arguments of the class that takes them.

    They all have defaults, and the class that takes a group gives its own for it, which may differ from theirs.
    A data source takes ``clips: ClipSettings``; the configuration says ``data.sample_rate``, not
    ``data.clips.sample_rate`` (:func:`audio_lightning.config.targets.build`).
    """
