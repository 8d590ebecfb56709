"""Planning of trials: compose and check combinations, and give each a new or an existing folder."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf, open_dict

from audio_lightning.compare.trials import ENDED, SweepFolder, TrialFolder, TrialStatus, is_free
from audio_lightning.config import UnknownKey, absolutize_paths, as_plain, check_config, compose
from audio_lightning.config.automatic import keys_of_recordings, provisional
from audio_lightning.core.errors import ConfigError, DataError, UserError
from audio_lightning.sweeps.executors.forkserver import call
from audio_lightning.sweeps.identity import digest, setup_hash, trial_hash
from audio_lightning.sweeps.preflight import Preflight, preflight, settle_automatic
from audio_lightning.sweeps.progress import describe


@dataclass(frozen=True)
class Combination:
    """Request for one trial.

    Attributes:
        overrides: all overrides of the trial.
        choices: value of each axis.
        apart: keys in which trials of one setup may differ, in addition to seeds and folds.
    """

    overrides: list[str]
    choices: dict[str, Any]
    apart: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """Composed and checked trial without a folder; ``groups`` has the choice of each group of the configuration."""

    combination: Combination
    config: DictConfig
    groups: dict[str, str]
    preflight: Preflight

    @property
    def hash(self) -> str:
        """Identity of the trial."""
        return trial_hash(self.plain, self.preflight.content, self.preflight.division)

    @property
    def plain(self) -> dict[str, Any]:
        """The resolved configuration as plain Python values."""
        return as_plain(self.config)

    def status(self, number: int) -> TrialStatus:
        """Return the initial status of the trial."""
        reason = self.preflight.impossible or self.preflight.unusable
        return TrialStatus(
            number=number,
            hash=self.hash,
            state="skipped" if self.preflight.impossible else "failed" if self.preflight.unusable else "queued",
            overrides=self.combination.overrides,
            choices=self.combination.choices,
            groups=self.groups,
            setup=setup_hash(self.plain, self.preflight.content, self.combination.apart),
            content=self.preflight.content,
            division=self.preflight.division,
            reason=reason,
        )


def plan_trials(
    combinations: Iterable[Combination], *, known: dict[str, Preflight] | None = None, quiet: bool = False
) -> list[Planned]:
    """Compose and check trials; identical trials are planned once.

    Args:
        combinations: requested trials.
        known: results of earlier pre-flight checks by data configuration, to which new results are added. A trial on
            data that was checked before is not checked again; if it cannot work, it fails when it runs.
        quiet: do not print values that are derived from the recordings.

    Raises:
        ConfigError: a mistake in the overrides.
        DataError: the recordings of all trials are unusable.
    """
    combinations = list(combinations)
    composed = [compose_trial(combination) for combination in combinations]
    # A search plans each trial alone, so one trial with a lacking key says nothing about the others.
    if known is None and composed and all(lacking for *_, lacking in composed):
        raise composed[0][2][0]
    _settle([config for config, *_ in composed], quiet=quiet)
    plain = [as_plain(config) for config, *_ in composed]
    keys = [digest(config["data"]) for config in plain]
    checked = {place: Preflight(impossible=str(lacking[0])) for place, (*_, lacking) in enumerate(composed) if lacking}
    checked |= {place: known[key] for place, key in enumerate(keys) if place not in checked and known and key in known}
    new = [place for place in range(len(plain)) if place not in checked]
    examined = dict(zip(new, call(preflight, [plain[place] for place in new]))) if new else {}
    checked |= examined
    if known is not None:
        known.update({keys[place]: found for place, found in examined.items() if not found.impossible})
    unusable = [found.unusable for found in checked.values()]
    if known is None and unusable and all(unusable):
        raise DataError(str(unusable[0]))
    planned: dict[str, Planned] = {}
    for place, (combination, (config, groups, _)) in enumerate(zip(combinations, composed)):
        trial = Planned(combination, config, groups, checked[place])
        planned.setdefault(trial.hash, trial)
    return list(planned.values())


def _settle(configs: Sequence[DictConfig], *, quiet: bool) -> None:
    """Replace ``auto`` by values derived from the recordings, so that the identity of trials has the values."""
    automatic = [config for config in configs if keys_of_recordings(config)]
    if automatic:
        plain = [as_plain(config) for config in automatic]
        tried = [as_plain(provisional(config)) for config in automatic]
        for config, found in zip(automatic, call(settle_automatic, plain, tried, quiet)):
            for key, value in found.items():
                OmegaConf.update(config, key, value)


def enter(
    sweep: SweepFolder, trials: Sequence[Planned], *, reuse: bool, retry_skipped: bool = False
) -> list[TrialFolder]:
    """Assign a folder to every trial: its existing folder, or a new one.

    Several processes may call this for the same sweep at the same time.

    Args:
        sweep: sweep folder.
        trials: trials in the order of their numbers.
        reuse: copy the result of the same trial from a neighbouring sweep folder.
        retry_skipped: run trials again that passed their pre-flight check but were skipped when they ran.
    """
    sweep.path.mkdir(parents=True, exist_ok=True)
    with FileLock(sweep.path / ".lock"):
        for lost, why in list(sweep.lost()):
            _say_damaged(sweep, lost, why)
        known = {status.hash: (folder, status) for folder, status in sweep.folders()}
        number = max((status.number for _, status in known.values()), default=-1) + 1
        elsewhere = results_beside(sweep) if reuse and any(trial.hash not in known for trial in trials) else {}
        folders = []
        for trial in trials:
            given = None
            if trial.hash in known:
                folder, status = known[trial.hash]
                if is_free(folder) and (wrong := folder.damage(status)):
                    _say_damaged(sweep, folder, wrong)
                    given = status.number
                    del known[trial.hash]
            if trial.hash in known:
                if retry_skipped and status.state == "skipped" and trial.preflight.impossible is None:
                    # A missing package or device may have kept it from running.
                    status = replace(status, state="queued", reason=None)
                    folder.write_status(status)
                _name_run(trial.config, sweep, status)
                _renew(folder, status, trial)
            else:
                status = trial.status(number if given is None else given)
                number += given is None
                folder = sweep.trial(status.number, trial.hash)
                _name_run(trial.config, sweep, status)
                other = elsewhere.get(trial.hash) if status.state == "queued" else None
                if other is not None and not other.damage(other.read_status()):  # ignore damaged results
                    status = _take(other, folder, status)
                if status.state in ("queued", "failed"):
                    folder.write_config(trial.config)
                folder.write_status(status)
                known[trial.hash] = folder, status
            folders.append(folder)
    return folders


def results_beside(sweep: SweepFolder) -> dict[str, TrialFolder]:
    """Return the finished trials of the neighbouring sweep folders, by their hashes."""
    found = {}
    for path in sorted(sweep.path.absolute().parent.glob("*/sweep.json")):
        if path.parent != sweep.path.absolute():
            for folder, status in SweepFolder(path.parent).folders():
                if status.state == "done" and folder.metrics.is_file():
                    found[status.hash] = folder
    return found


def compose_trial(combination: Combination) -> tuple[DictConfig, dict[str, str], list[UnknownKey]]:
    """Compose a trial; return its configuration, its group choices, and the set keys that these choices do not have.

    For example, ``feature=logmel,waveform feature.n_mels=40`` sets a key that only the first choice has.
    """
    lines, lacking = list(combination.overrides), list[UnknownKey]()
    while True:
        try:
            config = compose(lines, with_hydra=True)
            break
        except UnknownKey as error:
            lacking.append(error)
            lines.remove(error.line)
    groups = {name: str(choice) for name, choice in config.hydra.runtime.choices.items() if "/" not in name}
    groups.pop("hydra", None)
    with open_dict(config):
        del config["hydra"]
    check_config(config)
    absolutize_paths(config)
    if config.resume is not None:
        raise ConfigError("resume: continues a single run; to continue a sweep, give its command again")
    return config, groups, lacking


def _name_run(config: DictConfig, sweep: SweepFolder, status: TrialStatus) -> None:
    """Set group, job type and name of a trial's W&B run: the group is the sweep, the name lists its choices."""
    for node in config.logger.values():
        if node is not None and "group" in node and "job_type" in node:
            for key, value in (("group", sweep.path.name), ("job_type", "trial"), ("name", describe(status))):
                if node[key] is None:
                    node[key] = value


def _say_damaged(sweep: SweepFolder, folder: TrialFolder, wrong: str) -> None:
    aside = sweep.set_aside(folder)
    print(f"{wrong}; the trial is run again, and its old files are in {aside}", file=sys.stderr, flush=True)


def _renew(folder: TrialFolder, status: TrialStatus, trial: Planned) -> None:
    """Update the stored configuration of an unfinished trial, because locations such as its data folder may change."""
    if status.state in ENDED:
        return
    with suppress(UserError):  # missing, or damaged
        if digest(OmegaConf.to_container(folder.read_config())) == digest(trial.plain):
            return
    folder.write_config(trial.config)


def _take(found: TrialFolder, folder: TrialFolder, status: TrialStatus) -> TrialStatus:
    """Copy the result of the same trial of another sweep; files are hard-linked if the file system supports it."""

    def special(place: str, names: list[str]) -> list[str]:
        """Return symbolic links, which may lead anywhere, and special files, which cannot be copied."""
        paths = {name: Path(place, name) for name in names}
        return [name for name, path in paths.items() if path.is_symlink() or not (path.is_file() or path.is_dir())]

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    partial = folder.path.with_name(f".{folder.path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(found.path, partial, copy_function=link, ignore=special)
    old = found.read_status()
    for name in (folder.lock.name, folder.status.name):
        (partial / name).unlink(missing_ok=True)
    shutil.rmtree(folder.path, ignore_errors=True)  # left without a status by a killed process
    os.replace(partial, folder.path)
    kept = {
        name: getattr(old, name) for name in ("seconds", "peak_memory_mb", "attempts", "started", "finished", "host")
    }
    return replace(status, state="done", exit_code=0, reused_from=str(found.path), **kept)
