"""Values by class as users give them: options such as ``--threshold``, and the arguments of the Python functions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import shortened

Value = float | str
Given = Value | Mapping[str, Value] | Iterable[str] | None


def class_values(option: str, given: Given, classes: Sequence[str]) -> Iterator[tuple[str, str | None, object]]:
    """Yield each value with its text for messages and its class, None for all classes.

    Args:
        option: name of the option, for messages.
        given: a value for all classes; a mapping from class to value, in which ``""`` stands for all other classes; or
            values of the option: ``0.6`` for all classes, ``siren=0.8`` for one, in any order.
        classes: all classes.

    Raises:
        ConfigError: an unknown class.
    """
    for text, name, value in _entries(given):
        if name is not None and name not in classes:
            raise ConfigError(f"{option} {text}: no such class{did_you_mean(name, classes, listing='classes')}")
        yield text, name, value


def _entries(given: Given) -> Iterator[tuple[str, str | None, object]]:
    if given is None:
        return
    if isinstance(given, Mapping):
        for name, value in given.items():
            yield (f"{name}={shortened(value)}", name, value) if name else (shortened(value), None, value)
    elif isinstance(given, str) or not isinstance(given, Iterable):
        yield shortened(given), None, given
    else:
        for text in given:
            name, equals, value = text.rpartition("=")
            yield text, name if equals else None, value
