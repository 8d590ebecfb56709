"""Several trained classifiers that predict together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.ensemble_file import check_members, check_thresholds
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.features.base import FrontEnd
from audio_lightning.models.base import AudioModel


class CheckpointEnsemble(Classifier):
    """The weighted mean of the probabilities of trained classifiers, such as those of all folds of a cross-validation.

    Architectures and features may differ. It predicts, embeds and is tested as any classifier; it is not trained.

    Logits are those whose probabilities are this mean. An embedding is the embeddings of all members, one after the
    other, unweighted. Front ends with the same configuration and the same statistics are computed once.

    Args:
        members: with the same classes, sample rate, clips, windows and channel.
        weights: of the members, with the sum 1.
        thresholds: where clips may have several labels, the probability of every class from which on it is predicted;
            None for the weighted mean of the members' thresholds.
        names: of the members, for messages.
        notes: what the writer of the file noted.
        calibration: scale and bias of the mean of the members, each of which has its own; None: it is not calibrated.

    Attributes:
        config: that of the member with the largest weight: the data that is tested unless other data is named, and the
            metrics. ``trainer.precision`` is that of all members, or float32 where they differ.
        data: description of the data of the same member.
        trained_on: what any member was trained on; None where one does not know.

    Raises:
        ConfigError: members that do not fit together, or thresholds that do not fit the classes.
        ValueError: a calibration that does not fit them.
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
        """The networks of the members."""
        return [member.network for member in self._members()]

    @property
    def embedding_dim(self) -> int:
        """Sum of the members'."""
        return sum(member.embedding_dim for member in self._members())

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Logits of the weighted mean of the members' calibrated probabilities, float32."""
        return self._pooled(self._logits_of_each(waveform))

    def outputs(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Logits, and the weighted mean of the members' energies."""
        logits = self._logits_of_each(waveform)
        energies = torch.stack([self.objective.energy(one) for one in logits])
        return self._pooled(logits), self._weights(energies) @ energies

    def _logits_of_each(self, waveform: Float[Tensor, "batch samples"]) -> list[Float[Tensor, "batch classes"]]:
        return self._of_each(waveform, lambda member, features: member.network(features).float())

    def _pooled(self, logits: Sequence[Float[Tensor, "batch classes"]]) -> Float[Tensor, "batch classes"]:
        calibrated = torch.stack([member.calibration(one) for member, one in zip(self._members(), logits)])
        return self.objective.pool(calibrated, self._weights(calibrated))

    def _weights(self, beside: Tensor) -> Float[Tensor, "members"]:
        return torch.tensor(self.weights, dtype=torch.float32, device=beside.device)

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """The embeddings of the members, one after the other."""
        return torch.cat(self._of_each(waveform, lambda member, features: member.network.embed(features)), dim=1)

    def _of_each(
        self, waveform: Float[Tensor, "batch samples"], compute: Callable[[ClassifierNetwork, Tensor], Tensor]
    ) -> list[Tensor]:
        """What is computed from the features of each member, in the order of the members."""
        members, found = self._members(), dict[int, Tensor]()
        for group in self._groups:  # so that the features of one front end are in memory at a time
            features = members[group[0]].front_end(waveform)
            for place in group:
                found[place] = compute(members[place], members[place].arranged(features))
        return [found[place] for place in range(len(members))]

    def _members(self) -> list[ClassifierNetwork]:
        return [member for member in self.members if isinstance(member, ClassifierNetwork)]


def _with_precision(config: dict[str, Any], members: Sequence[ClassifierNetwork]) -> dict[str, Any]:
    """A configuration with the precision of all members."""
    nodes = [member.config.get("trainer") for member in members]
    if not all(isinstance(node, dict) for node in nodes):
        return config
    found = {str(node.get("precision")) for node in nodes if node}
    return config if len(found) == 1 else {**config, "trainer": {**config["trainer"], "precision": "32-true"}}


def _share_front_ends(members: Sequence[ClassifierNetwork]) -> list[list[int]]:
    """Places of the members, those together whose front ends give the same features; they have one from then on."""
    groups: list[list[int]] = []
    for place, member in enumerate(members):
        group = next((found for found in groups if _same_features(members[found[0]], member)), None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
            member.front_end = members[group[0]].front_end
    return groups


def _same_features(one: ClassifierNetwork, other: ClassifierNetwork) -> bool:
    return one.config["feature"] == other.config["feature"] and _same_state(one.front_end, other.front_end)


def _same_state(one: FrontEnd, other: FrontEnd) -> bool:
    state, others = one.state_dict(), other.state_dict()
    return state.keys() == others.keys() and all(torch.equal(state[name], others[name]) for name in state)
