"""Class paths in a configuration: which are allowed, and how their objects are built.

A configuration may come from a stranger's checkpoint, so a path is never simply imported and called. It must name a
class of the kind that its node requires, defined by this package, by the library of that node (:data:`LIBRARIES`), or
by a module that the user trusts (:mod:`audio_lightning.config.trust`).
"""

import dataclasses
import inspect
import os
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config.renamed import TARGETS, argument_now
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.trust import is_trusted, trusted_modules
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.core.files import as_yaml, shortened
from audio_lightning.core.settings import Settings

T = TypeVar("T")

PACKAGE = "audio_lightning"

PLAIN = (bool, int, str, type(None))
"""Classes whose values are checked exactly; a float may also be given as an integer."""

LIBRARIES: Mapping[str, str] = {
    "loss": "torch.nn",
    "metrics": "torchmetrics.classification",
    "optimizer": "torch.optim",
    "scheduler": "torch.optim.lr_scheduler",
    "callbacks": "lightning.pytorch.callbacks",
    "logger": "lightning.pytorch.loggers",
    "trainer": "lightning.pytorch",
}
"""For each node of the configuration, the library whose classes it may name in addition to classes of this package."""

TOP_LEVEL = frozenset({PACKAGE, *(library.partition(".")[0] for library in LIBRARIES.values())})
"""Top-level packages of all targets except the user's own."""

REFUSALS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that a constructor raises for invalid values."""


def library_of(where: str) -> str | None:
    """Library whose classes a node may name: ``torch.optim`` for ``optimizer``; None if there is none."""
    return LIBRARIES.get(where.partition(".")[0])


def is_allowed(target: Any, *, where: str) -> bool:
    """Whether a node may name ``target``; :func:`resolve` also checks the class itself."""
    if not isinstance(target, str) or target in TARGETS:
        return False
    return _is_of(target, PACKAGE) or is_trusted(target) or _is_of(target, library_of(where))


def refusal(target: Any, *, where: str) -> str:
    """Message about a target that is not allowed, with the remedy for a class of the user's own."""
    if isinstance(target, str) and target in TARGETS:
        return f"{target} has moved; type {TARGETS[target]}"
    top = target.partition(".")[0] if isinstance(target, str) else ""
    known = {*TOP_LEVEL, *sys.stdlib_module_names}
    if top not in known and "." in str(target) and all(part.isidentifier() for part in str(target).split(".")):
        return (
            f"{target} is not allowed: it is not a class of {PACKAGE}; if it is yours, or you know its code, trust "
            f"its module: trust={top} in a training or sweep, --trust {top} with a checkpoint"
        )
    library = library_of(where)
    owners = f"{PACKAGE} or {library}" if library else PACKAGE
    return f"{target} is not allowed; expected a class of {owners}"


def _is_of(name: str, package: str | None) -> bool:
    return package is not None and name.startswith(f"{package}.")


def resolve(target: Any, kind: type[T], *, where: str) -> type[T]:
    """Import the class that ``target`` names.

    Args:
        target: dotted path, such as ``"audio_lightning.models.vision.ResNet"``.
        kind: required base class.
        where: key in the configuration, for the message.

    Raises:
        ConfigError: a path outside of the allowed packages, one that does not exist, or a class of another kind.
    """
    if not is_allowed(target, where=where):
        raise ConfigError(f"{where}._target_={refusal(target, where=where)}")
    module_name, _, name = target.rpartition(".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise ConfigError(
                f"{where}._target_={target} needs the package {error.name}; pip install {error.name}"
            ) from error
        raise ConfigError(
            f"{where}._target_={target}: there is no module {module_name}; check the spelling, or install it"
        ) from error
    except Exception as error:
        if not is_trusted(module_name):
            raise
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ConfigError(f"{where}._target_={target}: {module_name} cannot be imported: {reason}") from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{where}._target_={target}: {module_name} has no {name}" + did_you_mean(name, dir(module)))
    if not isinstance(found, type) or not issubclass(found, kind):
        raise ConfigError(
            f"{where}._target_={target} is not a {kind.__name__}, which {where} must be; name another class"
        )
    # The module that defines the class is checked, because a module's imports are attributes of it as well.
    home, library = found.__module__, library_of(where)
    if not (_is_of(home, PACKAGE) or is_trusted(home) or _is_of(f"{home}.", library)):
        owners = " or ".join((PACKAGE, *([library] if library else []), *trusted_modules()))
        raise ConfigError(f"{where}._target_={target} is defined in {home}; expected a class of {owners}")
    return found


def build(
    node: Mapping[str, Any] | DictConfig,
    kind: type[T],
    *,
    where: str,
    offered: Mapping[str, Any] = types.MappingProxyType({}),
    **supplied: Any,
) -> T:
    """Build the object that a node of the configuration describes.

    Args:
        node: ``_target_`` and its arguments.
        kind: required base class.
        where: key of the node in the configuration, for messages.
        offered: arguments inferred by the program, passed if the class accepts them and the node does not set them.
        **supplied: further arguments of the program, which the configuration must not set.

    Raises:
        ConfigError: see :func:`resolve`; also an unknown argument, or a value that the class refuses.
    """
    target, arguments = split_node(node, where=where)
    cls = resolve(target, kind, where=where)
    taken = accepted(cls)[0]
    arguments = {name: value for name, value in offered.items() if name in taken} | arguments
    check_arguments(cls, arguments, supplied, where=where)
    try:
        return cls(**grouped(cls, arguments), **supplied)
    except REFUSALS as error:  # an invalid value of the right type, such as dropout=2
        raise ConfigError(f"{where}: {cls.__name__} refuses its arguments: {refused(cls, arguments, error)}") from error
    except Exception as error:  # a mistake in a user's own class is reported with its file and line
        if isinstance(error, UserError) or (own := raised_by_user(error)) is None:
            raise
        raise ConfigError(f"{where}: {own}") from error


def raised_by_user(error: Exception) -> str | None:
    """Describe an exception that passed through a trusted module, with its place there; None for any other."""
    frames = [place for place in walk_tb(error.__traceback__) if is_trusted(place[0].f_globals.get("__name__", ""))]
    if not frames:
        return None
    frame, line = frames[-1]
    code, message = frame.f_code, next(iter(str(error).strip().splitlines()), "")
    file = os.path.relpath(code.co_filename)
    return f"{code.co_qualname} raised {type(error).__name__}: {message} ({file}, line {line})"


def refused(cls: type, arguments: Mapping[str, Any], error: Exception) -> str:
    """First line of an exception's message, with the arguments that may have caused it (all that are not defaults)."""
    message = next(iter(str(error).strip().splitlines()), "")
    if not isinstance(error, (RuntimeError, ValueError)):  # its message is meant for developers
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    defaults = {name: parameter.default for name, parameter in accepted(cls)[0].items()}
    given = ", ".join(
        f"{name}={as_yaml(value)}"
        for name, value in arguments.items()
        if value != _plain(defaults.get(name)) and not isinstance(value, dict)
    )
    return f"{message} ({given})" if given else message


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def split_node(node: Mapping[str, Any] | DictConfig, *, where: str) -> tuple[Any, dict[str, Any]]:
    """Split a node into its target and its arguments, as plain Python.

    Raises:
        ConfigError: the node has no ``_target_``.
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    plain = dict(plain) if isinstance(plain, Mapping) else None
    if plain is None or "_target_" not in plain:
        raise ConfigError(f"{where} has no _target_; expected the path of a class and its arguments")
    plain.pop("_partial_", None)  # Hydra's flag for partial construction; the program completes every target
    return plain.pop("_target_"), {str(key): value for key, value in plain.items()}


def grouped(cls: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Group arguments for the constructor: the fields of each :class:`Settings` argument become one object."""
    given = dict(arguments)
    for name, settings in _settings(cls).items():
        fields = {field.name for field in dataclasses.fields(settings)}
        given[name] = dataclasses.replace(settings, **{key: given.pop(key) for key in fields & given.keys()})
    return given


def takes(cls: type, name: str) -> bool:
    """Whether a class accepts an argument of this name."""
    parameters, _, takes_any = accepted(cls)
    return name in parameters or takes_any


def check_arguments(cls: type, arguments: Mapping[str, Any], supplied: Mapping[str, Any], *, where: str) -> None:
    """Check arguments against the signature of ``cls``.

    Raises:
        ConfigError: an unknown or missing argument, or a value that its annotation excludes.
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
        default_is_null = name in parameters and parameters[name].default is None
        if name in hints and not _fits(value, hints[name]) and not (value is None and default_is_null):
            shown = repr(value) if isinstance(value, (str, int, float)) and len(str(value)) < 200 else shortened(value)
            if value is None or isinstance(value, bool):
                shown = as_yaml(value)
            raise ConfigError(f"{where}.{name}={shown}: expected {_describe(hints[name])}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments and name not in supplied:
            raise ConfigError(f"{where}.{name} must be given: {cls.__name__} needs it; type {where}.{name}=VALUE")


def accepted(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """Arguments that a configuration may set: :func:`_signature`, with the fields of :class:`Settings` arguments."""
    parameters, hints, takes_any = _signature(cls)
    for name, settings in _settings(cls).items():
        del parameters[name], hints[name]
        for key, parameter in inspect.signature(type(settings)).parameters.items():
            parameters[key] = parameter.replace(default=getattr(settings, key))
        hints |= typing.get_type_hints(type(settings))
    return parameters, hints, takes_any


def _settings(cls: type) -> dict[str, Any]:
    """Default values of the :class:`Settings` arguments of ``cls``, by name."""
    defaults = {name: parameter.default for name, parameter in _signature(cls)[0].items()}
    return {name: default for name, default in defaults.items() if isinstance(default, Settings)}


def _signature(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """Named parameters of ``cls``, their annotations, and whether it accepts any other name.

    A constructor with ``**options`` is assumed to pass them on to the constructor of its base class.
    """
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        constructor = vars(base).get("__init__", vars(base).get("__new__"))
        if constructor is None:
            continue
        try:
            found = dict(inspect.signature(base).parameters)
        except (ValueError, TypeError):  # a class implemented in C, without a signature
            return parameters, hints, True
        try:
            annotated = typing.get_type_hints(constructor)
        except (NameError, TypeError):  # an annotation that exists only for type checkers
            annotated = {}
        named = {
            name: value for name, value in found.items() if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)
        }
        if parameters and _is_of_library(base):
            # A library's class may itself supply what its base requires, as TensorBoardLogger does.
            named = {
                name: value.replace(default=None) if value.default is value.empty else value
                for name, value in named.items()
            }
        parameters, hints = named | parameters, annotated | hints
        if not any(value.kind is value.VAR_KEYWORD for value in found.values()):
            return parameters, hints, False
    return parameters, hints, True


def _is_of_library(cls: type) -> bool:
    """Whether a class belongs to an installed package other than this one, and not to a file of the user's own."""
    top = cls.__module__.partition(".")[0]
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    installed = not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
    return top != PACKAGE and (top in TOP_LEVEL or installed)


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
    return isinstance(value, hint) if hint in PLAIN else value is not None


def _describe(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(map(str, options))
    if origin in (typing.Union, types.UnionType):
        # A configuration holds no object of another class, such as the tensors that optimizers of torch accept.
        plain = [option for option in options if not isinstance(option, type) or option in (float, *PLAIN)]
        return " | ".join(_describe(option) for option in plain or options)
    if origin in (list, tuple, Sequence):
        return f"a list of {_describe(options[0])}" if options else "a list"
    if origin is dict:
        return f"a mapping to {_describe(options[1])}" if options else "a mapping"
    names = {int: "a whole number", float: "a number", bool: "true | false", str: "text", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
