"""Compose a configuration from command-line overrides.

Every override is checked against the configuration that it would change, so that a mistake is reported in one line.
"""

import copy
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from audio_lightning.config.automatic import AUTO, PROVISIONAL
from audio_lightning.config.keys import defaults_of
from audio_lightning.config.location import config_dir, last_change, searched, searching
from audio_lightning.config.override_checks import check_choice, check_key, check_resolved
from audio_lightning.config.overrides import is_group, line_of, parse_overrides, quote_paths, quoted, single_value
from audio_lightning.config.recipes import LeftOut, leave_out
from audio_lightning.config.renamed import OPTIONS, upgrade
from audio_lightning.config.trust import trusting
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line

KEPT = {
    "loss": ("class_weights", "label_smoothing"),
    "optimizer": ("norm_weight_decay", "bias_weight_decay"),
}
"""For each node, keys that this program itself applies, whatever class the node names."""

SEARCH_PATH = "hydra.searchpath"
"""The key for folders with the user's own YAML files; ``--config-dir`` adds one folder."""


def _samples(count: int, *, _root_: DictConfig) -> float:
    rate = _root_.data.sample_rate
    return float(count / (PROVISIONAL["data.sample_rate"] if rate == AUTO else rate))


OmegaConf.register_new_resolver("samples", _samples, replace=True)
"""``${samples:2048}``: the duration of 2,048 samples in seconds, at the sample rate of the data."""

OmegaConf.register_new_resolver("either", lambda first, second: second if first is None else first, replace=True)
"""``${either:A,B}``: A, or B if A is null."""


def compose(overrides: Iterable[str], *, name: str = "train", with_hydra: bool = False) -> DictConfig:
    """Compose a file of ``conf/`` with overrides in Hydra's grammar.

    Args:
        overrides: for example ``["model=resnet", "trainer.max_epochs=3"]``, paths already quoted (:func:`quote_paths`).
        name: file to compose: ``train`` (a training) or ``sweep`` (the plan of many trainings).
        with_hydra: keep the ``hydra`` node.

    Raises:
        UnknownKey: an unknown key.
        ConfigError: an override that is not in Hydra's grammar, an unknown choice, a value of another type than the
            default, or an interpolation that cannot be resolved.
    """
    parsed = parse_overrides(overrides)
    chosen = [override for override in parsed if is_group(override, name)]
    base, left_out = _base(name, parsed, chosen)
    keys = _without_left_out([override for override in parsed if not is_group(override, name)], left_out)
    retargeted = _retargeted(keys, base)
    for override in keys:
        if not _is_below(override.key_or_group, retargeted):  # such keys are arguments of another class
            check_key(override, base)
    config = _with_keys(base, keys, retargeted)
    with open_dict(config):
        if with_hydra:
            _record_overrides(config.hydra, parsed)
        else:
            del config["hydra"]
    return config


def deletions(overrides: Iterable[str]) -> list[str]:
    """Deletions (``~data.words``) that make Hydra leave out the keys that :func:`compose` drops from a recipe."""
    parsed = parse_overrides(overrides)
    _, left_out = _base("train", parsed, [override for override in parsed if is_group(override)])
    typed = {override.key_or_group for override in parsed if override.type is OverrideType.DEL}
    return [f"~{key}" for found in left_out for key in found.keys if key not in typed]


def _base(name: str, parsed: Iterable[Override], chosen: Iterable[Override]) -> tuple[DictConfig, list[LeftOut]]:
    """Compose the choices alone, after checking that each exists; also return the keys left out of a recipe."""
    with searching(_places(parsed)):
        for override in chosen:
            check_choice(override)
        lines = tuple(line_of(override) for override in chosen if not _is_no_choice(override))
        return _of_choices(name, lines, searched(), last_change(searched()))


def _without_left_out(keys: list[Override], left_out: Iterable[LeftOut]) -> list[Override]:
    """Print which keys of a recipe are left out; drop typed deletions of these keys, which would delete nothing."""
    deleted = {override.key_or_group for override in keys if override.type is OverrideType.DEL}
    for found in left_out:
        if shown := [key for key in found.keys if key not in deleted]:
            _say(str(replace(found, keys=shown)))
    done = deleted & {key for found in left_out for key in found.keys}
    return [override for override in keys if override.key_or_group not in done]


def _record_overrides(hydra: DictConfig, parsed: Iterable[Override]) -> None:
    """Record the overrides in Hydra's node, as Hydra does when it composes them itself."""
    own = [override for override in parsed if not override.is_hydra_override()]
    hydra.overrides.task = [line_of(override) for override in own]
    known = list(hydra.overrides.hydra)
    lines = [line_of(override) for override in parsed if override.is_hydra_override()]
    hydra.overrides.hydra = [*known, *(line for line in lines if line not in known)]
    style = hydra.job.config.override_dirname
    options = {"kv_sep": style.kv_sep, "item_sep": style.item_sep, "exclude_keys": style.exclude_keys}
    hydra.job.override_dirname = get_overrides_dirname(own, **options)


@contextmanager
def user_extensions(overrides: Iterable[str], config_dir: str | Path | None = None) -> Iterator[None]:
    """Context manager that applies the user's own modules and configuration folders named on a command line.

    Args:
        overrides: command-line overrides; ``trusted_modules`` and ``hydra.searchpath`` are read.
        config_dir: folder of ``--config-dir``.

    Raises:
        ConfigError: a module or a folder that does not exist.
    """
    keys = ("trusted_modules", SEARCH_PATH, *OPTIONS)
    parsed = parse_overrides(line for line in quote_paths(overrides) if line.partition("=")[0].lstrip("+") in keys)
    trusted = [single_value(override) for override in parsed if override.key_or_group == "trusted_modules"]
    folders = [*_places(parsed), *([] if config_dir is None else [str(config_dir)])]
    with trusting(trusted[-1] if trusted else None), searching(folders):
        yield


def change(config: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """Copy a configuration with some keys changed, each checked to exist.

    Raises:
        ConfigError: an override that is not in Hydra's grammar, a key that does not exist, or a value of another
            type than the current one.
    """
    changed = copy.deepcopy(config)
    for override in parse_overrides(overrides):
        if override.is_sweep_override() or override.type is OverrideType.DEL:
            raise ConfigError(
                f"{override.input_line}: expected one value; type a list as {override.key_or_group}=[...,...]"
            )
        check_key(override, config)
        OmegaConf.update(changed, override.key_or_group, override.value())
        check_resolved(override, config, changed)
    return changed


def expand_multirun(overrides: Iterable[str]) -> list[list[str]]:
    """Expand the jobs of ``-m``: one list of overrides per job, in Hydra's order.

    Raises:
        ConfigError: an override that is not in Hydra's grammar.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    try:
        return [job for batch in BasicSweeper.split_arguments(parse_overrides(overrides), None) for job in batch]
    except HydraException as error:
        raise ConfigError(first_line(error)) from error


@lru_cache(maxsize=64)
def _of_choices(
    name: str, lines: tuple[str, ...], folders: tuple[Path, ...], _changed: int
) -> tuple[DictConfig, list[LeftOut]]:
    """Compose choices, and drop keys of a recipe that the choices lack; cached for the trials of a sweep.

    They are composed again if the user's own files in ``folders`` have changed, as in a notebook.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), job_name=name, version_base="1.3"):
            config = hydra_compose(name, overrides=[*lines, *_search_path(folders)], return_hydra_config=True)
        config = _upgraded(config) if folders else config
        return config, leave_out(config, parse_overrides(lines))
    except RecursionError as error:
        raise ConfigError(
            f"{' '.join(lines)}: the defaults of a YAML file form a cycle; look for it in "
            + " and ".join(map(str, folders or [config_dir()]))
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _upgraded(config: DictConfig) -> DictConfig:
    """Upgrade a configuration in which the user's own YAML files have names of earlier versions."""
    plain: Any = OmegaConf.to_container(config)
    if replaced := upgrade(plain, over_defaults=True):
        _say(f"YAML files in {', '.join(map(str, searched()))} use names of an earlier version: {', '.join(replaced)}")
        for key, value in defaults_of().items():  # also of a node that a single value replaced: ensemble: 4
            parent, _, name = key.rpartition(".")
            if isinstance(node := plain.get(parent), dict):
                node.setdefault(name, value)
        with open_dict(config):
            for name in set(config) - set(plain):
                del config[name]
            for name, node in plain.items():
                if name != "hydra":
                    config[name] = node
    return config


def search_path(overrides: Iterable[str]) -> list[str]:
    """Rewrite overrides so that Hydra itself finds the files that :func:`compose` finds; packages become folders."""
    parsed = parse_overrides(overrides)
    with searching(_places(parsed)):
        # Hydra cannot express "no choice", which is the default of the groups in OPTIONAL.
        kept = [override for override in parsed if override.key_or_group != SEARCH_PATH and not _is_no_choice(override)]
        return [*map(line_of, kept), *_search_path(searched())]


def _is_no_choice(override: Override) -> bool:
    return override.type is not OverrideType.DEL and is_group(override) and override.value() is None


def _search_path(folders: Iterable[Path]) -> list[str]:
    urls = ",".join(quoted(f"file://{folder}", is_path=False) for folder in folders)
    return [f"hydra.searchpath=[{urls}]"] if urls else []


def _places(parsed: Iterable[Override]) -> list[str]:
    """Folders with YAML files that a command line names, with interpolations resolved."""
    places: list[str] = []
    for override in parsed:
        if option := OPTIONS.get(override.key_or_group):
            value = str(single_value(override))
            python = option.strip("-").replace("-", "_")
            raise ConfigError(
                f"{override.key_or_group}={value}: renamed; type {option} {shlex.quote(value)}, or pass "
                f"{python}={value!r} in Python"
            )
        if override.key_or_group == SEARCH_PATH and (value := single_value(override)) is not None:
            try:
                resolved: Any = OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)
            except OmegaConfBaseException as error:
                raise ConfigError(f"{override.input_line}: {first_line(error)}") from error
            found = resolved["value"]
            places += map(str, found) if isinstance(found, list) else [str(found)]
    return places


def _retargeted(keys: Iterable[Override], base: DictConfig) -> set[str]:
    """Nodes whose class an override replaces: ``optimizer._target_=torch.optim.RAdam``."""
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
    """Remove arguments of the choice that the new class does not take, with a note; typed arguments stay."""
    from audio_lightning.config.targets import is_allowed, resolve, takes

    target = OmegaConf.select(config, f"{node}._target_")
    if not is_allowed(target, where=node):  # reported by check_config, unless the module is trusted by then
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
    """Print a note once: a configuration is composed several times, and again for each trial of a sweep."""
    print(f"note: {text}", file=sys.stderr)


def _with_keys(base: DictConfig, keys: list[Override], retargeted: Iterable[str] = ()) -> DictConfig:
    """Copy a configuration with keys set as Hydra sets them, after all choices are made."""
    config = copy.deepcopy(base)
    OmegaConf.clear_cache(config)  # the run folder's name contains the current time
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
            check_resolved(override, base, config)
    return config
