"""Names in a configuration, and the classes they may stand for.

A configuration can come out of a checkpoint that somebody else made. So a name is never simply imported and called.
It must be a class of the kind that its node wants, and defined by this package, by the library of that node
(:data:`LIBRARIES`), or by a module which the user trusts (:mod:`audio_lightning.config.trust`).
"""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config.renamed import TARGETS, argument_now
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.trust import is_trusted, trusted_modules
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import shortened
from audio_lightning.core.settings import Settings

T = TypeVar("T")

PACKAGE = "audio_lightning"

LIBRARIES: Mapping[str, str] = {
    "loss": "torch.nn",
    "metrics": "torchmetrics.classification",
    "optimizer": "torch.optim",
    "scheduler": "torch.optim.lr_scheduler",
    "callbacks": "lightning.pytorch.callbacks",
    "logger": "lightning.pytorch.loggers",
    "trainer": "lightning.pytorch",
}
"""By node of the configuration, the library whose classes it may name beside those of this package."""

TOP_LEVEL = frozenset({PACKAGE, *(library.partition(".")[0] for library in LIBRARIES.values())})
"""Top-level packages of all targets but the user's own."""

REFUSALS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""What a class raises that cannot work with a value."""


def library_of(where: str) -> str | None:
    """The library whose classes a node may name: ``torch.optim`` for ``optimizer``; None where there is none."""
    return LIBRARIES.get(where.partition(".")[0])


def is_allowed(target: Any, *, where: str) -> bool:
    """Whether ``target`` may be named at all in a node; :func:`resolve` still checks what it is."""
    if not isinstance(target, str) or target in TARGETS:
        return False
    return _is_of(target, PACKAGE) or is_trusted(target) or _is_of(target, library_of(where))


def refusal(target: Any, *, where: str) -> str:
    """What to say of a target that may not be named, and what to do where it may be a class of the user's own."""
    if isinstance(target, str) and target in TARGETS:
        return f"{target} has moved: expected {TARGETS[target]}"
    top = target.partition(".")[0] if isinstance(target, str) else ""
    known = {*TOP_LEVEL, *sys.stdlib_module_names}
    if top not in known and "." in str(target) and all(part.isidentifier() for part in str(target).split(".")):
        return (
            f"{target} is not allowed: it is no class of {PACKAGE}; if it is yours, or you know what is in it, trust "
            f"its module: trust={top} in a training or sweep, --trust {top} with a checkpoint"
        )
    library = library_of(where)
    owners = f"{PACKAGE} or {library}" if library else PACKAGE
    return f"{target} is not allowed: expected a class of {owners}"


def _is_of(name: str, package: str | None) -> bool:
    return package is not None and name.startswith(f"{package}.")


def resolve(target: Any, kind: type[T], *, where: str) -> type[T]:
    """The class that ``target`` names.

    Args:
        target: dotted name, such as ``"audio_lightning.models.vision.ResNet"``.
        kind: class it must be or derive from.
        where: key in the configuration, for the message.

    Raises:
        ConfigError: a name outside the allow-list, one that does not exist, or one of another kind.
    """
    if not is_allowed(target, where=where):
        raise ConfigError(f"{where}._target_={refusal(target, where=where)}")
    module_name, _, name = target.rpartition(".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise ConfigError(
                f"{where}._target_={target} needs the package {error.name}: pip install {error.name}"
            ) from error
        raise ConfigError(f"{where}._target_={target}: there is no module {module_name}") from error
    except Exception as error:
        if not is_trusted(module_name):
            raise
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ConfigError(f"{where}._target_={target}: {module_name} cannot be imported: {reason}") from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{where}._target_={target}: {module_name} has no {name}" + did_you_mean(name, dir(module)))
    if not isinstance(found, type) or not issubclass(found, kind):
        raise ConfigError(f"{where}._target_={target} is not a {kind.__name__}, which {where} must be")
    # Checked on what was found, not on its name: a module's imports are attributes of it, too.
    home, library = found.__module__, library_of(where)
    if not (_is_of(home, PACKAGE) or is_trusted(home) or _is_of(f"{home}.", library)):
        owners = " or ".join((PACKAGE, *([library] if library else []), *trusted_modules()))
        raise ConfigError(f"{where}._target_={target} is defined in {home}, which is not a part of {owners}")
    return found


def build(
    node: Mapping[str, Any] | DictConfig,
    kind: type[T],
    *,
    where: str,
    offered: Mapping[str, Any] = types.MappingProxyType({}),
    **supplied: Any,
) -> T:
    """Make the object that a node of the configuration describes.

    Args:
        node: ``_target_`` and the arguments for it.
        kind: class the target must be or derive from.
        where: key of the node in the configuration, for messages.
        offered: arguments that the program can work out, passed where the class takes them and the node has none.
        **supplied: further arguments, which the program works out and no configuration names.

    Raises:
        ConfigError: see :func:`resolve`; also an argument the target does not take, or a value it refuses.
    """
    target, arguments = split_node(node, where=where)
    cls = resolve(target, kind, where=where)
    taken = accepted(cls)[0]
    arguments = {name: value for name, value in offered.items() if name in taken} | arguments
    check_arguments(cls, arguments, supplied, where=where)
    try:
        return cls(**grouped(cls, arguments), **supplied)
    except REFUSALS as error:  # a value of the right type that the class refuses, such as dropout=2
        raise ConfigError(f"{where}: {cls.__name__} refuses its arguments: {refused(cls, arguments, error)}") from error


def refused(cls: type, arguments: Mapping[str, Any], error: Exception) -> str:
    """What an exception says, in one line, and the arguments that may have led to it: those that are no defaults."""
    message = next(iter(str(error).strip().splitlines()), "")
    if not isinstance(error, (RuntimeError, ValueError)):  # made to be read by who wrote the class
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    defaults = {name: parameter.default for name, parameter in accepted(cls)[0].items()}
    given = ", ".join(
        f"{name}={value}"
        for name, value in arguments.items()
        if value != _plain(defaults.get(name)) and not isinstance(value, dict)
    )
    return f"{message} ({given})" if given else message


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def split_node(node: Mapping[str, Any] | DictConfig, *, where: str) -> tuple[Any, dict[str, Any]]:
    """The target and the arguments of a node, as plain Python."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    plain = dict(plain) if isinstance(plain, Mapping) else None
    if plain is None or "_target_" not in plain:
        raise ConfigError(f"{where} has no _target_: expected the name of a class and its arguments")
    plain.pop("_partial_", None)  # Hydra's way to leave arguments to the program, which completes all targets
    return plain.pop("_target_"), {str(key): value for key, value in plain.items()}


def grouped(cls: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the class takes them: those of its :class:`Settings` gathered in one object each."""
    given = dict(arguments)
    for name, settings in _settings(cls).items():
        fields = {field.name for field in dataclasses.fields(settings)}
        given[name] = dataclasses.replace(settings, **{key: given.pop(key) for key in fields & given.keys()})
    return given


def takes(cls: type, name: str) -> bool:
    """Whether a class takes an argument of this name."""
    parameters, _, takes_any = accepted(cls)
    return name in parameters or takes_any


def check_arguments(cls: type, arguments: Mapping[str, Any], supplied: Mapping[str, Any], *, where: str) -> None:
    """Hold arguments against the signature of ``cls``.

    Raises:
        ConfigError: a name that it does not take, one that is missing, or a value that its annotation excludes.
    """
    parameters, hints, takes_any = accepted(cls)
    open_names = [name for name in parameters if name not in supplied]
    for name, value in arguments.items():
        if name not in parameters and (new := argument_now(f"{cls.__module__}.{cls.__name__}", name)):
            raise ConfigError(f"{where}.{name}: renamed; type {where}.{new}={value}")
        if name in supplied or (name not in parameters and not takes_any):
            raise ConfigError(
                f"{where} has no argument {name}" + did_you_mean(name, open_names, listing=f"{cls.__name__} takes")
            )
        if name in hints and not _fits(value, hints[name]):
            shown = repr(value) if isinstance(value, (str, int, float)) and len(str(value)) < 200 else shortened(value)
            raise ConfigError(f"{where}.{name}={shown}: expected {_describe(hints[name])}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments and name not in supplied:
            raise ConfigError(f"{where}.{name} must be given: {cls.__name__} needs it")


def accepted(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """What a configuration may say of ``cls``: as :func:`_signature`, with the fields of :class:`Settings` in it."""
    parameters, hints, takes_any = _signature(cls)
    for name, settings in _settings(cls).items():
        del parameters[name], hints[name]
        for key, parameter in inspect.signature(type(settings)).parameters.items():
            parameters[key] = parameter.replace(default=getattr(settings, key))
        hints |= typing.get_type_hints(type(settings))
    return parameters, hints, takes_any


def _settings(cls: type) -> dict[str, Any]:
    """The groups of arguments that ``cls`` takes, as it has them by default."""
    defaults = {name: parameter.default for name, parameter in _signature(cls)[0].items()}
    return {name: default for name, default in defaults.items() if isinstance(default, Settings)}


def _signature(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """What ``cls`` takes by name, the annotations of that, and whether it takes any other name.

    A constructor with ``**options`` hands them on to that of the class it derives from.
    """
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        constructor = vars(base).get("__init__", vars(base).get("__new__"))
        if constructor is None:
            continue
        try:
            found = dict(inspect.signature(base).parameters)
        except (ValueError, TypeError):  # one in C that has none
            return parameters, hints, True
        try:
            annotated = typing.get_type_hints(constructor)
        except (NameError, TypeError):  # an annotation that only a type checker can read
            annotated = {}
        named = {
            name: value for name, value in found.items() if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)
        }
        if parameters and base.__module__.partition(".")[0] in TOP_LEVEL - {PACKAGE}:
            # A library's class may give its base what that requires, as TensorBoardLogger does.
            named = {
                name: value.replace(default=None) if value.default is value.empty else value
                for name, value in named.items()
            }
        parameters, hints = named | parameters, annotated | hints
        if not any(value.kind is value.VAR_KEYWORD for value in found.values()):
            return parameters, hints, False
    return parameters, hints, True


def _fits(value: Any, hint: Any) -> bool:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if origin is Literal:
        return value in options and isinstance(value, tuple(type(option) for option in options))
    if origin in (list, tuple, Sequence):
        element = options[0] if options else Any
        return isinstance(value, (list, tuple)) and all(_fits(item, element) for item in value)
    if origin is dict:
        element = options[1] if options else Any
        return isinstance(value, dict) and all(_fits(item, element) for item in value.values())
    if origin is not None or not isinstance(hint, type):
        return True
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, hint) if hint in (bool, int, str, type(None)) else True


def _describe(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(map(str, options))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_describe(option) for option in options)
    if origin in (list, tuple, Sequence):
        return f"a list of {_describe(options[0])}" if options else "a list"
    if origin is dict:
        return f"a mapping to {_describe(options[1])}" if options else "a mapping"
    names = {int: "a whole number", float: "a number", bool: "true | false", str: "text", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
