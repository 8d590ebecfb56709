"""Ensembles of trained classifiers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.ensemble_file import check_members, check_thresholds
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.classifier.sounding_seconds import mean_sounding_seconds
from audio_lightning.features.base import FrontEnd
from audio_lightning.models.base import AudioModel

NORMALIZATION = "normalization"
"""Name of the module of a front end whose statistics may differ between members that share its features."""


class CheckpointEnsemble(Classifier):
    """Weighted mean of the probabilities of trained classifiers, such as those of all folds of a cross-validation.

    Architectures and features may differ. The ensemble predicts, embeds and is tested like any classifier, but cannot
    be trained.

    Logits are those of the mean probabilities. An embedding is the unweighted concatenation of the members' embeddings.
    Front ends with the same configuration and the same weights are computed once, such as the frozen published network
    of all folds; only the normalization is repeated, if its statistics differ.

    Args:
        members: classifiers with the same classes, sample rate, clips, windows and channel.
        weights: weights of the members, with the sum 1.
        thresholds: if clips may have several labels, the probability threshold of every class; None for the weighted
            mean of the members' thresholds.
        names: names of the members, for messages.
        notes: notes by the writer of the file.
        calibration: scale and bias that calibrate the mean, in addition to the members' own calibrations; None for no
            calibration.

    Attributes:
        config: configuration of the member with the largest weight; it defines the default test data and the metrics.
            ``trainer.precision`` is that of all members, or float32 if they differ.
        data: description of the data of the same member.
        trained_on: fingerprints of the training data of all members; None if they are unknown for one.
        sounding_seconds: mean over the members that know it, class by class, until it is set.

    Raises:
        ConfigError: members that do not fit together, or thresholds that do not fit the classes.
        ValueError: a calibration that does not fit the classes.
    """

    def __init__(
        self,
        members: Sequence[ClassifierNetwork],
        weights: Sequence[float],
        *,
        thresholds: Float[Tensor, "..."] | None = None,
        names: Sequence[str] | None = None,
        notes: dict[str, Any] | None = None,
        calibration: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        names = names or [f"member {number + 1}" for number in range(len(members))]
        check_members([(name, member.task, member.config["data"]) for name, member in zip(names, members, strict=True)])
        first = members[max(range(len(members)), key=lambda number: weights[number])]
        super().__init__(_with_precision(first.config, members), first.task)
        self.members = nn.ModuleList(members)
        self.weights, self.notes = tuple(weights), dict(notes or {})
        self.data = first.data
        known = [member.trained_on for member in members if member.trained_on is not None]
        if len(known) == len(members):
            self.trained_on = np.unique(np.concatenate(known))
        self.sounding_seconds = mean_sounding_seconds([member.sounding_seconds for member in members])
        if thresholds is not None:
            check_thresholds(thresholds, self.task)
            self.thresholds.copy_(thresholds)
        elif self.task.multilabel:
            shares = torch.tensor(self.weights, dtype=torch.float32)
            self.thresholds.copy_(shares @ torch.stack([member.thresholds for member in members]))
        if calibration is not None:
            self.calibration.put(*calibration)
        self._groups = _share_front_ends(members)

    @property
    def networks(self) -> Sequence[AudioModel]:
        """Networks of the members."""
        return [member.network for member in self._members()]

    @property
    def embedding_dim(self) -> int:
        """Sum of the members' embedding sizes."""
        return sum(member.embedding_dim for member in self._members())

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Compute the logits of the weighted mean of the members' calibrated probabilities, float32."""
        return self._pooled(self._logits_of_each(waveform))

    def outputs(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Compute logits, and the weighted mean of the members' energies."""
        logits = self._logits_of_each(waveform)
        energies = torch.stack([self.objective.energy(one) for one in logits])
        return self._pooled(logits), self._weights(energies) @ energies

    def _logits_of_each(self, waveform: Float[Tensor, "batch samples"]) -> list[Float[Tensor, "batch classes"]]:
        return self._of_each(waveform, lambda member, features: member.network(features).float())

    def _pooled(self, logits: Sequence[Float[Tensor, "batch classes"]]) -> Float[Tensor, "batch classes"]:
        calibrated = torch.stack([member.calibration(one) for member, one in zip(self._members(), logits)])
        return self.objective.pool(calibrated, self._weights(calibrated))

    def _weights(self, like: Tensor) -> Float[Tensor, "members"]:
        return torch.tensor(self.weights, dtype=torch.float32, device=like.device)

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """Concatenate the embeddings of the members."""
        return torch.cat(self._of_each(waveform, lambda member, features: member.network.embed(features)), dim=1)

    def _of_each(
        self, waveform: Float[Tensor, "batch samples"], compute: Callable[[ClassifierNetwork, Tensor], Tensor]
    ) -> list[Tensor]:
        """Apply a function to the features of each member, in the order of the members."""
        members, found = self._members(), dict[int, Tensor]()
        for source in self._groups:  # only the features of one front end are in memory at a time
            front_ends = [members[group[0]].front_end for group in source]
            raw = front_ends[0].raw(waveform) if len(source) > 1 else None
            for front_end, group in zip(front_ends, source):
                features = front_end(waveform) if raw is None else front_end.from_raw(raw, waveform)
                for place in group:
                    found[place] = compute(members[place], members[place].arranged(features))
        return [found[place] for place in range(len(members))]

    def _members(self) -> list[ClassifierNetwork]:
        return [member for member in self.members if isinstance(member, ClassifierNetwork)]


def _with_precision(config: dict[str, Any], members: Sequence[ClassifierNetwork]) -> dict[str, Any]:
    """Return the configuration with the precision of all members."""
    nodes = [member.config.get("trainer") for member in members]
    if not all(isinstance(node, dict) for node in nodes):
        return config
    found = {str(node.get("precision")) for node in nodes if node}
    return config if len(found) == 1 else {**config, "trainer": {**config["trainer"], "precision": "32-true"}}


def _share_front_ends(members: Sequence[ClassifierNetwork]) -> list[list[list[int]]]:
    """Group members by the features before normalization, and within each group by the normalized features.

    Each inner group shares one front end. The front ends of an outer group share their modules, so that the weights of
    a published network are in memory once.
    """
    sources: list[list[list[int]]] = []
    for place, member in enumerate(members):
        source = next((found for found in sources if _same_source(members[found[0][0]], member)), None)
        if source is None:
            sources.append([[place]])
            continue
        group = next((found for found in source if _same_statistics(members[found[0]], member)), None)
        if group is not None:
            group.append(place)
            member.front_end = members[group[0]].front_end
            continue
        source.append([place])
        shared = members[source[0][0]].front_end
        for name, module in shared.named_children():
            if name != NORMALIZATION:
                setattr(member.front_end, name, module)
    return sources


def _same_source(one: ClassifierNetwork, other: ClassifierNetwork) -> bool:
    """Whether two members compute the same features, up to the statistics of the normalization."""
    if one.config["feature"] != other.config["feature"]:
        return False
    states = [_split_state(member.front_end) for member in (one, other)]
    if not _equal(*(computing for computing, _ in states)):
        return False
    # A class that computes its features in its own way is shared only as a whole.
    return type(one.front_end).forward is FrontEnd.forward or _equal(*(statistics for _, statistics in states))


def _same_statistics(one: ClassifierNetwork, other: ClassifierNetwork) -> bool:
    return _equal(*(_split_state(member.front_end)[1] for member in (one, other)))


def _split_state(front_end: FrontEnd) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split the state of a front end into that of the computation and that of the normalization."""
    state = front_end.state_dict()
    of_normalization = {name: value for name, value in state.items() if name.partition(".")[0] == NORMALIZATION}
    return {name: value for name, value in state.items() if name not in of_normalization}, of_normalization


def _equal(state: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return state.keys() == others.keys() and all(
        value is others[name] or torch.equal(value, others[name]) for name, value in state.items()
    )
