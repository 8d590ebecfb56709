"""Compose a configuration from typed overrides, and say in one line what is wrong with them.

Hydra's own answers to a typo take several lines, end in exit code 1 and advise a ``+`` with which the typo composes
silently. Here every override is held against the configuration it would change before Hydra composes it.
"""

import copy
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from audio_lightning.config.hints import unknown_choice, unknown_key
from audio_lightning.config.location import choices, choices_in, config_dir, groups, last_change, searched, searching
from audio_lightning.config.renamed import upgrade
from audio_lightning.config.slips import check_decimal, several_values, unreadable
from audio_lightning.config.trust import trusting
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line

PATH_KEY = re.compile(r"(?:^|[._])(?:root|dir|path|file|pretrained|resume)$")
"""Keys whose values are paths."""

TEXT_KEY = re.compile(rf"{PATH_KEY.pattern}|(?:^|[._])(?:table|column|separator|pattern)$")
"""Keys whose values are taken as typed: paths, and others in which signs occur that mean something to Hydra."""

LIST_KEY = re.compile(r"(?:^|\.)ignore$")
"""Keys whose values are lists of patterns; one pattern needs no brackets."""

_ENTRY = re.compile(r"\s*(\w+)\s*:\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,{}]+?)\s*(?:,|$)")
"""One entry of a mapping: a name, and a value that is quoted or has no comma."""

OPEN_NODES = ("augment", "callbacks", "logger")
"""Nodes to which an entry of one's own can be added with ``+``."""

SEVERAL = ("augment", "callbacks", "debug", "experiment", "logger", "trainer")
"""Groups of which several choices can be made at once; of others, one would be written over the other."""

OPTIONAL = ("debug", "experiment")
"""Groups of which none need be chosen."""

KEPT = {"loss": ("class_weights", "label_smoothing")}
"""By node, keys that this program itself applies, whatever class is named."""

PLACES = ("conf_dir", "hydra.searchpath")
"""Keys that name folders with YAML files of the user's own."""


def _samples(count: int, *, _root_: DictConfig) -> float:
    return float(count / _root_.data.sample_rate)


OmegaConf.register_new_resolver("samples", _samples, replace=True)
"""``${samples:2048}``: 2,048 samples in seconds, at the sample rate of the data."""


class UnknownKey(ConfigError):  # noqa: N818 - named like the mistake
    """An override of a key that is not there, or not with the choices that were made.

    Attributes:
        line: the override.
    """

    def __init__(self, message: str, line: str) -> None:
        super().__init__(message)
        self.line = line


def compose(overrides: Iterable[str], *, name: str = "train", with_hydra: bool = False) -> DictConfig:
    """Compose a file of ``conf/`` with overrides in Hydra's grammar.

    Args:
        overrides: for example ``["model=resnet", "trainer.max_epochs=3"]``, paths already quoted (:func:`quote_paths`).
        name: ``train``, a training, or ``sweep``, how many of them are made and run.
        with_hydra: keep the ``hydra`` node.

    Raises:
        UnknownKey: an unknown key.
        ConfigError: an override that is not in Hydra's grammar, an unknown choice, a value of another type than the
            one it replaces, or an interpolation that leads nowhere.
    """
    parsed = parse_overrides(overrides)
    chosen = [override for override in parsed if is_group(override, name)]
    with searching(_places(parsed)):
        for override in chosen:
            _check_choice(override)
        base = _of_choices(name, tuple(_line(override) for override in chosen), searched(), last_change(searched()))
    keys = [override for override in parsed if not is_group(override, name)]
    retargeted = _retargeted(keys, base)
    for override in keys:
        if not _is_below(override.key_or_group, retargeted):  # its keys are those of another class
            _check_key(override, base)
    config = _with_keys(base, keys, retargeted)
    with open_dict(config):
        if with_hydra:
            _record_overrides(config.hydra, parsed)
        else:
            del config["hydra"]
    return config


def _record_overrides(hydra: DictConfig, parsed: Iterable[Override]) -> None:
    """Write into Hydra's node what Hydra writes there where it composes all overrides itself."""
    own = [override for override in parsed if not override.is_hydra_override()]
    hydra.overrides.task = [_line(override) for override in own]
    known = list(hydra.overrides.hydra)
    lines = [_line(override) for override in parsed if override.is_hydra_override()]
    hydra.overrides.hydra = [*known, *(line for line in lines if line not in known)]
    style = hydra.job.config.override_dirname
    options = {"kv_sep": style.kv_sep, "item_sep": style.item_sep, "exclude_keys": style.exclude_keys}
    hydra.job.override_dirname = get_overrides_dirname(own, **options)


def check_choices(overrides: Iterable[str]) -> None:
    """Check that what is chosen exists, without the time that composing takes.

    Raises:
        ConfigError: an unknown choice.
    """
    for override in parse_overrides(overrides):
        if is_group(override):
            _check_choice(override)


@contextmanager
def user_extensions(overrides: Iterable[str]) -> Iterator[None]:
    """Let what a command line says of the user's own modules and folders count for as long as the context lasts.

    Args:
        overrides: as they were typed; ``trust``, ``conf_dir`` and ``hydra.searchpath`` are looked at.

    Raises:
        ConfigError: a module or a folder that is not there.
    """
    own = [line for line in overrides if line.partition("=")[0].lstrip("+") in ("trust", *PLACES)]
    parsed = parse_overrides(quote_paths(own))
    trusted = [single_value(override) for override in parsed if override.key_or_group == "trust"]
    with trusting(trusted[-1] if trusted else None), searching(_places(parsed)):
        yield


def change(config: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """A copy of a configuration with some keys set, each checked to exist.

    Raises:
        ConfigError: an override that is not in Hydra's grammar, a key that does not exist, or a value of another
            type than the one it replaces.
    """
    changed = copy.deepcopy(config)
    for override in parse_overrides(overrides):
        if override.is_sweep_override() or override.type is OverrideType.DEL:
            raise ConfigError(
                f"{override.input_line}: expected KEY=VALUE with one value; a list is {override.key_or_group}=[...,...]"
            )
        _check_key(override, config)
        OmegaConf.update(changed, override.key_or_group, override.value())
        _check_resolved(override, config, changed)
    return changed


def expand_multirun(overrides: Iterable[str]) -> list[list[str]]:
    """The jobs that ``-m`` would start: one list of overrides each, in Hydra's order.

    Raises:
        ConfigError: an override that is not in Hydra's grammar.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    try:
        return [job for batch in BasicSweeper.split_arguments(parse_overrides(overrides), None) for job in batch]
    except HydraException as error:
        raise ConfigError(first_line(error)) from error


def quote_paths(arguments: Iterable[str], *, multirun: bool = False) -> list[str]:
    """Make paths, column names, separators and patterns on the command line mean what they say.

    Hydra's grammar refuses ``~``, ``=``, ``;``, parentheses, commas and letters such as ``ö`` in a bare value. The
    value of such a key is put in quotes, with ``~`` expanded in a path, unless it is ``null`` or already quoted. Under
    ``multirun`` a comma separates values of an axis, except in a path that exists as it was typed.
    """
    return [_quote_path(argument, multirun) for argument in arguments]


def is_group(override: Override, name: str = "train") -> bool:
    """Whether an override chooses a file (``model=resnet``) rather than setting a key (``seed=1``)."""
    return override.key_or_group in groups(name) or _is_hydras(override)


def _is_hydras(override: Override) -> bool:
    """Whether an override chooses a part of Hydra, such as ``hydra/launcher=joblib``."""
    return override.key_or_group.startswith("hydra/")


def _quote_path(argument: str, multirun: bool) -> str:
    key, equals, value = argument.partition("=")
    bare_key = key.lstrip("+~")
    if LIST_KEY.search(bare_key) and _is_single(value):
        return f"{key}=[{_quoted(value, is_path=False)}]"
    if not equals or not TEXT_KEY.search(bare_key) or value in ("", "null", "true", "false", "???"):
        return argument
    if bare_key.startswith("hydra."):
        value = _with_choices(value)
    is_path = bool(PATH_KEY.search(bare_key))
    if bare_key.endswith("table") and (mapping := _quoted_mapping(value)):
        return f"{key}={mapping}"
    several = multirun and "," in value.strip(",") and value[0] not in "'\""
    if several and not (is_path and os.path.exists(os.path.expanduser(value))):
        return f"{key}=" + ",".join(_quoted(part, is_path=is_path) for part in value.split(","))
    return f"{key}={_quoted(value, is_path=is_path)}"


def _is_single(value: str) -> bool:
    """Whether a value is one text, rather than a list, an interpolation, or values with commas between them."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value not in ("", "null") and value[0] != "[" and "${" not in value and (quoted or "," not in value)


def _with_choices(value: str) -> str:
    """Let ``${model}`` in the name of a folder stand for the choice, in place of all its keys.

    ``${hydra:runtime.choices.model}``, which Hydra itself resolves in a run alone, is written as it can be composed.
    """
    named = re.sub(rf"\$\{{({'|'.join(groups())})\}}", r"${hydra.runtime.choices.\1}", value)
    return named.replace("${hydra:", "${hydra.")


def _quoted_mapping(value: str) -> str | None:
    """``{train:a.csv,test:b.csv}`` with every value in quotes; None for what is no such mapping."""
    if not (value.startswith("{") and value.endswith("}")):
        return None
    inside, position, entries = value[1:-1], 0, []
    while position < len(inside):
        if (entry := _ENTRY.match(inside, position)) is None:
            return None
        entries.append(f"{entry[1]}:{_quoted(entry[2], is_path=True)}")
        position = entry.end()
    return "{" + ",".join(entries) + "}" if entries else None


def _quoted(value: str, *, is_path: bool) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1].replace("\\" + value[0], value[0])
    if is_path:
        value = os.path.expanduser(value)
    # Within quotes the grammar gives a backslash a meaning only before a quote, so only there it is doubled.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def parse_overrides(overrides: Iterable[str]) -> list[Override]:
    """Overrides in Hydra's grammar, taken apart.

    Raises:
        ConfigError: one that is not in the grammar.
    """
    parser = OverridesParser.create()
    lines, parsed = list(overrides), []
    for place, line in enumerate(lines):
        try:
            parsed.append(parser.parse_override(line))
        except (HydraException, ValueError, RecursionError) as error:  # also a number of thousands of digits
            raise ConfigError(unreadable(lines, place, first_line(error))) from error
        check_decimal(line)
    return parsed


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


@lru_cache(maxsize=64)
def _of_choices(name: str, lines: tuple[str, ...], folders: tuple[Path, ...], _changed: int) -> DictConfig:
    """The configuration of some choices, composed once: the trials of a sweep make the same ones again and again.

    In a notebook it is composed again when the user's own files in ``folders`` have changed.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), job_name=name, version_base="1.3"):
            config = hydra_compose(name, overrides=[*lines, *_search_path(folders)], return_hydra_config=True)
            return _upgraded(config) if folders else config
    except RecursionError as error:
        raise ConfigError(
            f"{' '.join(lines)}: the defaults of a YAML file lead back to itself; look for the circle in "
            + " and ".join(map(str, folders or [config_dir()]))
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _upgraded(config: DictConfig) -> DictConfig:
    """A configuration with the names of this version, where YAML files of the user's own have older ones."""
    plain: Any = OmegaConf.to_container(config)
    if replaced := upgrade(plain):
        _say(f"YAML files in {', '.join(map(str, searched()))} have names of an earlier version: {', '.join(replaced)}")
        with open_dict(config):
            for name in set(config) - set(plain):
                del config[name]
            for name, node in plain.items():
                if name != "hydra":
                    config[name] = node
    return config


def search_path(overrides: Iterable[str]) -> list[str]:
    """Overrides by which Hydra itself finds what :func:`compose` finds: folders in place of packages."""
    lines = list(overrides)
    with searching(_places(parse_overrides(lines))):
        return [*(line for line in lines if not line.startswith("hydra.searchpath=")), *_search_path(searched())]


def _search_path(folders: Iterable[Path]) -> list[str]:
    urls = ",".join(_quoted(f"file://{folder}", is_path=False) for folder in folders)
    return [f"hydra.searchpath=[{urls}]"] if urls else []


def _places(parsed: Iterable[Override]) -> list[str]:
    """Folders with YAML files that a command line names; Hydra, too, may not find one in a place that is not there."""
    places: list[str] = []
    for override in parsed:
        if override.key_or_group in PLACES and (value := single_value(override)) is not None:
            try:
                resolved: Any = OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)
            except OmegaConfBaseException as error:
                raise ConfigError(f"{override.input_line}: {first_line(error)}") from error
            found = resolved["value"]
            places += map(str, found) if isinstance(found, list) else [str(found)]
    return places


def single_value(override: Override) -> Any:
    """The value of a key that is the same for all trainings of a command line, as plain Python."""
    if override.is_sweep_override():
        raise ConfigError(f"{override.input_line}: several are a list: {override.key_or_group}=[...,...]")
    value: Any = None if override.type is OverrideType.DEL else override.value()
    plain = [entry.text if isinstance(entry, QuotedString) else entry for entry in _as_list(value)]
    return plain if isinstance(value, list) else plain[0]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _retargeted(keys: Iterable[Override], base: DictConfig) -> set[str]:
    """Nodes for which another class is typed than their choice names: ``optimizer._target_=torch.optim.RAdam``."""
    found = set()
    for override in keys:
        node, _, name = override.key_or_group.rpartition(".")
        if name == "_target_" and override.type is not OverrideType.DEL and not override.is_sweep_override():
            chosen = OmegaConf.select(base, node)
            if isinstance(chosen, DictConfig) and override.value() not in (chosen.get(name), None):
                found.add(node)
    return found


def _is_below(key: str, nodes: Iterable[str]) -> bool:
    return any(key.startswith(f"{node}.") for node in nodes)


def _drop_inherited(config: DictConfig, node: str, keys: Iterable[Override]) -> None:
    """Remove arguments that the choice set and the new class does not take, and say so; typed arguments stay."""
    from audio_lightning.config.targets import is_allowed, resolve, takes

    target = OmegaConf.select(config, f"{node}._target_")
    if not is_allowed(target, where=node):  # which check_config says, unless it is trusted by then
        return
    cls = resolve(target, object, where=node)
    typed = {override.key_or_group.removeprefix(f"{node}.").partition(".")[0] for override in keys}
    values = OmegaConf.select(config, node)
    kept = {"_target_", "_partial_", *KEPT.get(node, ()), *typed}
    dropped = [name for name in values if not (name in kept or takes(cls, name))]
    with open_dict(values):
        for name in dropped:
            del values[name]
    if dropped:
        _say(f"{node}: {cls.__name__} does not take {', '.join(dropped)}; left out")


@lru_cache(maxsize=64)
def _say(text: str) -> None:
    """Say it once: a configuration is composed several times, and each trial of a sweep anew."""
    print(f"note: {text}", file=sys.stderr)


def _with_keys(base: DictConfig, keys: list[Override], retargeted: Iterable[str] = ()) -> DictConfig:
    """A copy with keys set as Hydra sets them, which does so when all choices are made."""
    config = copy.deepcopy(base)
    OmegaConf.clear_cache(config)  # the time by which a run folder is named is that of now
    try:
        for key in (override.key_or_group for override in keys):
            if _is_below(key, retargeted) and OmegaConf.select(config, key) is None:
                OmegaConf.update(config, key, None, force_add=True)
        ConfigLoaderImpl._apply_overrides_to_config(keys, config)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    for node in retargeted:
        _drop_inherited(config, node, keys)
    for override in keys:
        if not _is_below(override.key_or_group, retargeted):
            _check_resolved(override, base, config)
    return config


def _check_resolved(override: Override, base: DictConfig, config: DictConfig) -> None:
    """Check the type of what an interpolation gives, such as ``${oc.env:NAME}``; check_config says if it gives none."""
    if "${" in _line(override):
        with suppress(OmegaConfBaseException):
            key = override.key_or_group
            default = None if OmegaConf.is_missing(base, key) else OmegaConf.select(base, key)
            found = OmegaConf.select(config, key)
            if expected := _expected(key, default, found):
                # The value is not said: it may be a secret, and messages are logged.
                kind = "text" if isinstance(found, str) else f"a {type(found).__name__}"
                raise ConfigError(f"{_line(override)} gives {kind}: expected {expected}, the default is {default}")


def _check_choice(override: Override) -> None:
    group = override.key_or_group
    if _is_hydras(override):  # it says itself which there are
        return
    if override.type is OverrideType.DEL:
        raise ConfigError(f"~{group}: a training needs a {group}; choose another one" + _or_none(group))
    if override.is_sweep_override():
        raise ConfigError(several_values(override))
    value = override.value()
    if value in (None, []) and group not in OPTIONAL:
        raise ConfigError(f"{override.input_line}: expected a choice, there are: {', '.join(choices(group))}")
    if isinstance(value, list) and len(value) > 1 and group not in SEVERAL:
        names = ",".join(map(str, value))
        raise ConfigError(
            f"{override.input_line}: a training has one {group}; each in turn is -m {group}={names}, or "
            f"python sweep.py {group}={names}"
        )
    for name in _as_list(value):
        if own := [folder for folder in searched() if str(name) in choices_in(folder, group)]:
            if str(name) in choices_in(config_dir(), group):
                file = own[0] / group / f"{name}.yaml"
                raise ConfigError(
                    f"{file}: there is a {group}={name} already, which would be taken; give it another name"
                )
        elif name is not None and str(name) not in choices(group):
            raise ConfigError(unknown_choice(group, str(name)))


def _or_none(group: str) -> str:
    return f", or {group}=none" if "none" in choices(group) else ""


def _check_key(override: Override, base: DictConfig) -> None:
    key = override.key_or_group
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        # keys() and _get_node, because `in` and node[part] deny a mandatory value that is still missing.
        if isinstance(node, DictConfig) and part in node.keys():  # noqa: SIM118
            node = node._get_node(part)
            continue
        if parts[0] in OPEN_NODES and override.is_add() and depth >= 1:
            return
        raise UnknownKey(unknown_key(parts, depth, node, base), _line(override))
    default = None if node is None or OmegaConf.is_missing(base, key) else OmegaConf.select(base, key)
    if override.is_sweep_override():
        raise ConfigError(several_values(override, wants_list=isinstance(default, ListConfig)))
    if override.type is not OverrideType.DEL:
        _check_type(key, default, override.value())


def _check_type(key: str, default: Any, value: Any) -> None:
    """A number stays a number and a list a list; what the default leaves open is for the target's signature to say."""
    if isinstance(value, QuotedString):
        value = value.text
    if value == "" and TEXT_KEY.search(key):
        raise ConfigError(f"{key}=: there is no value behind the equals sign")
    if isinstance(value, str) and "${" in value:
        return
    if expected := _expected(key, default, value):
        if isinstance(default, ListConfig) and isinstance(value, (str, int, float)):
            expected = f"a list, as in {key}=[{value}]"
        raise ConfigError(f"{key}={value}: expected {expected}, the default is {default}")


def _expected(key: str, default: Any, value: Any) -> str | None:
    """What a value should be in place of a default; None if it is that."""
    expected: tuple[type, ...]
    if value is None or default is None:
        return None
    if isinstance(default, bool):
        expected, name = (bool,), "true or false"
    elif isinstance(default, int):
        expected, name = (int,), "a whole number"
    elif isinstance(default, float):
        expected, name = (int, float), "a number"
    elif isinstance(default, (ListConfig, list)):
        expected, name = (list, ListConfig), "a list such as [1,2]"
    elif isinstance(default, DictConfig):
        expected, name = (dict, DictConfig), f"one of its keys ({', '.join(f'{key}.{name!s}' for name in default)})"
    else:
        return None
    right = isinstance(value, expected) and not (isinstance(value, bool) and bool not in expected)
    return None if right else name
