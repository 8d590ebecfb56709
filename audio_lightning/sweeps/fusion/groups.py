"""Groups of trials that one process trains together."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_lightning.compare.trials import REPETITION_KEYS, TrialFolder
from audio_lightning.config import as_plain
from audio_lightning.sweeps.executors.forkserver import call
from audio_lightning.sweeps.identity import canonical_config, digest
from audio_lightning.sweeps.sources import Listed, Source

MEMBERS_DIFFER = {*REPETITION_KEYS, "optimizer.lr", "optimizer.weight_decay", "loss.label_smoothing"}
"""Keys in which trials of a group may differ, in addition to numbers below ``augment``."""

AUGMENTATION = re.compile(r"augment\..+")


def group_key(config: Mapping[str, Any]) -> str:
    """Return a hash that is equal for trials that can form a group, provided that their networks can be fused.

    Args:
        config: resolved configuration.
    """
    kept = {
        key: _kind(value) if AUGMENTATION.fullmatch(key) else value
        for key, value in canonical_config(config).items()
        if key not in MEMBERS_DIFFER
    }
    return digest([kept, config["trainer"], sorted(config.get("logger") or {})])


def reasons(configs: Sequence[dict[str, Any]]) -> list[str | None]:
    """Return why trainings with each of the configurations cannot be fused; None if they can.

    Call it in a separate process, because it imports the libraries of a training.

    Args:
        configs: resolved configurations.
    """
    return [_reason(config) for config in configs]


class Groups:
    """Groups of the trials of a source.

    Args:
        source: source of the trials.
        most: maximum number of trials in a group.
        configs: known resolved configurations by trial folder; others are read from the folders.
        say: function that prints a line, called if trials of the same settings cannot be fused.
    """

    def __init__(
        self,
        source: Source,
        most: int = 1,
        configs: Mapping[Path, dict[str, Any]] | None = None,
        *,
        say: Callable[[str], None] = print,
    ) -> None:
        self._source, self._most, self._say = source, most, say
        self._configs = dict(configs or {})
        self._waiting: dict[str, deque[TrialFolder]] = {}
        self._reasons: dict[str, str | None] = {}

    def take(self) -> list[TrialFolder]:
        """Return the next group to run; empty if none is left, or none is available before others have ended."""
        if self._most == 1:
            folder = self._source.take()
            return [] if folder is None else [folder]
        # A search proposes better trials when more have ended, so it is asked for one group only.
        while isinstance(self._source, Listed) or sum(map(len, self._waiting.values())) < self._most:
            folder = self._source.take()
            if folder is None:
                break
            self._waiting.setdefault(group_key(self._config(folder)), deque()).append(folder)
        if not self._waiting:
            return []
        key, alike = next(iter(self._waiting.items()))
        fused = len(alike) > 1 and self._why_alone(key, self._config(alike[0])) is None
        found = [alike.popleft() for _ in range(min(len(alike), self._most) if fused else 1)]
        if not alike:
            del self._waiting[key]
        return found

    def _config(self, folder: TrialFolder) -> dict[str, Any]:
        if folder.path not in self._configs:
            self._configs[folder.path] = as_plain(folder.read_config())
        return self._configs[folder.path]

    def _why_alone(self, key: str, config: dict[str, Any]) -> str | None:
        if key not in self._reasons:
            (self._reasons[key],) = call(reasons, [config])
            if self._reasons[key] is not None:
                self._say(f"{_name(config)} is trained one trial per process, not fused: {self._reasons[key]}")
        return self._reasons[key]


def sizes(configs: Iterable[Mapping[str, Any]], most: int) -> list[int]:
    """Return the number of trials in each group.

    Args:
        configs: resolved configurations of the trials to run.
        most: maximum number of trials in a group.
    """
    alike: dict[str, list[dict[str, Any]]] = {}
    for config in configs:
        alike.setdefault(group_key(config), []).append(dict(config))
    several = {key: members for key, members in alike.items() if len(members) > 1}
    alone = dict(zip(several, call(reasons, [members[0] for members in several.values()]))) if several else {}
    found: list[int] = []
    for key, members in alike.items():
        size = 1 if alone.get(key) else most
        found += [len(members[start : start + size]) for start in range(0, len(members), size)]
    return found


def _kind(value: Any) -> Any:
    """Replace numbers in an option of an augmentation by their count, so that their values do not matter."""
    values = value if isinstance(value, list) else [value]
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
    return ["number", len(values)] if values and numbers else value


def _name(config: Mapping[str, Any]) -> str:
    return str(config["model"]["_target_"]).rpartition(".")[2].lower()


def _reason(config: dict[str, Any]) -> str | None:
    from omegaconf import OmegaConf

    from audio_lightning.core.task import AudioTask
    from audio_lightning.planning.settle import build_source
    from audio_lightning.training.fusion.check import reason_of_network, reason_of_settings

    if reason := reason_of_settings(config):
        return reason
    data = build_source(OmegaConf.create(config))
    return reason_of_network(config, AudioTask(("a", "b"), data.sample_rate, data.num_samples, data.padding))
