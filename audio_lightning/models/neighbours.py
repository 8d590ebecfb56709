"""Nearest-centroid and k-nearest-neighbour classifiers on embeddings, with learned temperatures."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.checks import require_choice, require_positive
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.memory import TrainingMemory
from audio_lightning.models.pretrained.backbone import full_precision

Metric = Literal["cosine", "euclidean"]
METRICS = ("cosine", "euclidean")

MemoryDtype = Literal["float32", "float16"]
DTYPES = {"float32": torch.float32, "float16": torch.float16}

SPEED = 10.0
"""Factor of the learned scalars; without it, they would hardly change in a short training at the learning rate of the
layers."""

LEAST_FLOOR = 1e-6
"""Distance of the learned floor from 0 and 1, so that logarithms stay finite in float32."""


def check_metric(metric: str, scale: float) -> None:
    """Validate the options that :class:`Centroid` and :class:`KNN` share.

    Raises:
        ConfigError: an unknown metric, or a scale that is not positive.
    """
    require_choice("metric", metric, METRICS)
    require_positive("scale", scale)


class Similarity(nn.Module):
    """Similarity of embeddings to stored rows, and its learned scale (inverse temperature).

    Args:
        values: size of an embedding.
        metric: ``cosine`` (rows are L2-normalized), or ``euclidean``, the negative squared distance per value.
        scale: initial value of the learned scale.
    """

    def __init__(self, values: int, metric: Metric, scale: float) -> None:
        super().__init__()
        self.values, self.metric, self.first_scale = values, metric, scale
        # One dimension, because sharded training (FSDP) does not support scalars. Zero: weight decay pulls the scale
        # back to the option.
        self.log_scale = nn.Parameter(torch.zeros(1))

    @property
    def scale(self) -> Float[Tensor, "1"]:
        """Learned scale, positive."""
        return self.first_scale * (SPEED * self.log_scale.float()).exp()

    def normalized(self, x: Float[Tensor, "rows values"]) -> Float[Tensor, "rows values"]:
        """Return rows in float32, normalized as the metric needs them."""
        return functional.normalize(x.float()) if self.metric == "cosine" else x.float()

    def forward(
        self, x: Float[Tensor, "batch values"], rows: Float[Tensor, "rows stored_values"]
    ) -> Float[Tensor, "batch rows"]:
        """Compute the similarity of each embedding to each stored row, without the scale."""
        x, rows = self.normalized(x), rows.float()
        product = x @ rows.T
        if self.metric == "cosine":
            return product
        squares = x.square().sum(1, keepdim=True) + rows.square().sum(1)
        return (2 * product - squares).clamp(max=0) / self.values


class CentroidHead(TrainingMemory):
    """Head of :class:`Centroid`: class means as the weights of a classifier.

    Args:
        values: size of an embedding.
        num_classes: number of logits.
        metric, scale: see :class:`Similarity`.
    """

    stored = ("centroids", "others", "counts")
    centroids: Float[Tensor, "classes values"]
    others: Tensor
    counts: Tensor

    def __init__(self, values: int, num_classes: int, metric: Metric, scale: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.similarity = Similarity(values, metric, scale)
        self.register_buffer("centroids", torch.zeros(num_classes, values))
        # For clips with several labels: for every class, the centroid of the clips without it, [classes, values].
        self.register_buffer("others", torch.zeros(0, values))
        self.register_buffer("counts", torch.zeros(2, num_classes, dtype=torch.int64))  # with and without the class

    def fill(self, embeddings: Float[Tensor, "clips values"], targets: Tensor) -> None:
        """Compute the mean embedding of every class."""
        rows = self.similarity.normalized(embeddings)
        if targets.dim() == 1:
            sums = rows.new_zeros(self.num_classes, rows.shape[1]).index_add_(0, targets, rows)
            with_label = torch.bincount(targets, minlength=self.num_classes)
        else:
            sums, with_label = targets.to(rows.dtype).T @ rows, targets.sum(0).long()
        without = len(rows) - with_label
        device = self.centroids.device

        def means(total: Tensor, clips: Tensor) -> Tensor:
            return self.similarity.normalized(total / clips.clamp(min=1).unsqueeze(1)).to(device)

        self.centroids = means(sums, with_label)
        self.others = means(rows.sum(0) - sums, without) if targets.dim() == 2 else rows[:0].to(device)
        self.counts = torch.stack([with_label, without]).to(device)

    def check(self, stored: Mapping[str, Tensor]) -> None:
        """See :meth:`TrainingMemory.check`."""
        shape = self.centroids.shape
        _check_rows("centroids", stored["centroids"], [shape])
        _check_rows("others", stored["others"], [shape, torch.Size((0, shape[1]))])
        counts = stored["counts"]
        if counts.dtype != torch.int64 or counts.shape != self.counts.shape or (counts < 0).any():
            raise ValueError(f"counts is {_kind(counts)}, expected int64 {list(self.counts.shape)}, none negative")

    def forward(self, x: Float[Tensor, "batch values"]) -> Float[Tensor, "batch classes"]:
        """Compute logits; zeros before :meth:`fill`."""
        with full_precision(x):
            similarity = self.similarity(x, self.centroids)
            if len(self.others):
                difference = self.similarity.scale * (similarity - self.similarity(x, self.others))
                # If all clips have a label, or none has it, its logit depends only on its frequency.
                known = (self.counts > 0).all(0)
                with_label, without = self.counts.float() + 0.5
                return torch.where(known, difference, 0.0) + (with_label / without).log()
            logits = self.similarity.scale * similarity
            known = self.counts[0] > 0
            # A class without training clips never has the only highest logit.
            least = logits.masked_fill(~known, math.inf).amin(1, keepdim=True).nan_to_num(posinf=0.0)
            return torch.where(known, logits, least)


class KNNHead(TrainingMemory):
    """Head of :class:`KNN`: embeddings and targets of all training clips.

    Args:
        values: size of an embedding.
        num_classes: number of logits.
        k: number of neighbours.
        metric, scale: see :class:`Similarity`.
        floor: initial value of the learned floor.
        dtype: type of the stored embeddings.
    """

    stored = ("rows", "targets")
    rows: Float[Tensor, "clips values"]
    targets: Tensor

    def __init__(
        self, values: int, num_classes: int, k: int, metric: Metric, scale: float, floor: float, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.num_classes, self.k, self.first_floor = num_classes, k, floor
        self.similarity = Similarity(values, metric, scale)
        self.floor_logit = nn.Parameter(torch.zeros(1))
        self.register_buffer("rows", torch.zeros(0, values, dtype=dtype))
        # int64 [clips], or uint8 [clips, classes] if clips may have several labels.
        self.register_buffer("targets", torch.zeros(0, dtype=torch.int64))

    @property
    def macs_per_stored_clip(self) -> int:
        """See :attr:`TrainingMemory.macs_per_stored_clip`: the product of two embeddings."""
        return self.similarity.values

    @property
    def floor(self) -> Float[Tensor, "1"]:
        """Learned share of the floor in the probability, between 0 and 1."""
        begin = math.log(self.first_floor / (1 - self.first_floor))
        share = (SPEED * self.floor_logit.float() + begin).sigmoid()
        return LEAST_FLOOR + (1 - 2 * LEAST_FLOOR) * share

    def fill(self, embeddings: Float[Tensor, "clips values"], targets: Tensor) -> None:
        """Store embeddings and targets.

        Raises:
            ConfigError: embeddings outside the range of the stored type.
        """
        rows = self.similarity.normalized(embeddings).to(self.rows.device, self.rows.dtype)
        if not rows.isfinite().all():
            raise ConfigError(
                f"model=knn: embeddings of training clips are NaN, infinite or beyond the range of {rows.dtype}; use "
                "model.memory_dtype=float32 or model.metric=cosine, and check the feature"
            )
        self.rows = rows
        self.targets = targets.to(rows.device, torch.int64 if targets.dim() == 1 else torch.uint8)

    def check(self, stored: Mapping[str, Tensor]) -> None:
        """See :meth:`TrainingMemory.check`."""
        rows, targets = stored["rows"], stored["targets"]
        _check_rows("rows", rows, [torch.Size((len(rows) if rows.dim() else 0, self.similarity.values))])
        single = targets.dtype == torch.int64 and targets.shape == (len(rows),)
        several = targets.dtype == torch.uint8 and targets.shape == (len(rows), self.num_classes)
        most = self.num_classes - 1 if single else 1
        if not (single or several) or (targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) <= most):
            raise ValueError(
                f"targets is {_kind(targets)}, expected int64 [{len(rows)}] below {self.num_classes}, or uint8 "
                f"[{len(rows)}, {self.num_classes}] of 0 and 1"
            )

    def forward(self, x: Float[Tensor, "batch values"]) -> Float[Tensor, "batch classes"]:
        """Compute log probabilities, or log odds for several labels; zeros if there are no neighbours."""
        with full_precision(x):
            similarity = self.similarity(x, self.rows)
            # A training clip is most similar to itself, so its own target must not vote.
            left_out = int(self.training)
            count = min(self.k + left_out, len(self.rows))
            scale, floor = self.similarity.scale, self.floor
            if count <= left_out:
                return similarity.new_zeros(x.shape[0], self.num_classes) + 0 * (scale + floor)
            nearest, place = similarity.topk(count)
            nearest, place = nearest[:, left_out:], place[:, left_out:]
            weight = (scale * nearest).softmax(1)
            targets = self.targets[place]
            several = targets.dim() == 3
            if not several:
                targets = targets.unsqueeze(2) == torch.arange(self.num_classes, device=targets.device)
            share = (weight.unsqueeze(1) @ targets.to(weight.dtype)).squeeze(1)
            probability = (1 - floor) * share + floor / (2 if several else self.num_classes)
            return probability.logit() if several else probability.log()


class Centroid(AudioModel):
    """Nearest-centroid classifier: the mean embedding of every class is its prototype.

    Prototypical networks (Snell et al. 2017, arXiv 1703.05175) with a learned scale, the only trainable parameter.
    Logits are ``scale * cosine similarity``, or ``-scale * squared distance / values``. If clips may have several
    labels, a class has two centroids, of the clips with and without it; its logit is the difference of both logits plus
    the log odds of the label in the training clips. If every clip has one label, a class without training clips gets
    the lowest logit of the others.

    The mean of a class contains the training clips that are compared with it. This makes the learned scale slightly too
    large if classes have few clips.

    Args:
        input_shape: shape of the embedding, ``[channels, values]``.
        num_classes: number of logits.
        metric: ``cosine`` (means of L2-normalized embeddings) or ``euclidean``.
        scale: initial factor of the similarities.

    Raises:
        IncompatibleInput: the input is a spectrogram.
        ConfigError: an unknown metric, or a scale that is not positive.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.neighbours import Centroid
        >>> model = Centroid(FeatureShape("waveform", (1, 2), is_sound=False), num_classes=2)
        >>> model.memorize(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0, 1]))
        >>> model(torch.tensor([[[0.9, 0.1]]])).argmax(1)
        tensor([0])
    """

    input_kind = "waveform"
    memorizes = True
    head: CentroidHead

    def __init__(
        self, input_shape: FeatureShape, num_classes: int, *, metric: Metric = "cosine", scale: float = 10.0
    ) -> None:
        super().__init__(input_shape, num_classes)
        check_metric(metric, scale)
        self.embedding_dim = math.prod(input_shape.dims)
        self.head = CentroidHead(self.embedding_dim, num_classes, metric, scale)

    def embed(self, x: Float[Tensor, "batch channels values"]) -> Float[Tensor, "batch embedding"]:
        """Flatten the channels."""
        return x.flatten(1)

    @torch.no_grad()
    def memorize(self, features: Float[Tensor, "clips channels values"], targets: Tensor) -> None:
        """Compute the class means of the training clips; see :meth:`AudioModel.memorize`."""
        self.head.fill(self.embed(features), targets)


class KNN(AudioModel):
    """k-nearest-neighbour classifier, with neighbours weighted by similarity (Wu et al. 2018, arXiv 1805.01978).

    The embedding of every training clip is stored, without augmentation. The probability of a class is its share of the
    ``k`` nearest clips, weighted by ``softmax(scale * similarity)``. It is mixed with a floor: a uniform
    distribution over all classes, or a probability of 1/2 for each label if clips may have several. Logits are the
    logarithms of these probabilities, or their log odds if clips may have several labels. Scale and floor are learned
    by gradient descent.

    In training mode, the most similar stored clip is left out, because it is the clip itself. This has side effects:

    * Of exact duplicates, one is left out and the others count, as in leave-one-out validation.
    * An augmented clip is usually most similar to its own original. If it is not, a true neighbour is left out, and
      training metrics are slightly too low.
    * If a clip is mixed from two (mixup), the second one stays among the neighbours; so do overlapping windows of the
      same recording. The learned scale is then too large.

    Args:
        input_shape: shape of the embedding, ``[channels, values]``.
        num_classes: number of logits.
        k: number of neighbours; all training clips if there are fewer.
        metric: ``cosine`` (of L2-normalized embeddings), or ``euclidean``, the negative squared distance per value.
        scale: initial factor of the similarities; 14.3 is the paper's temperature of 0.07.
        floor: initial share of the floor in the probability.
        memory_dtype: type of the stored embeddings; computation is in float32.

    Raises:
        IncompatibleInput: the input is a spectrogram.
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.neighbours import KNN
        >>> model = KNN(FeatureShape("waveform", (1, 2), is_sound=False), num_classes=2, k=1).eval()
        >>> model.memorize(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0, 1]))
        >>> model(torch.tensor([[[0.9, 0.1]]])).argmax(1)
        tensor([0])
    """

    input_kind = "waveform"
    memorizes = True
    head: KNNHead

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        k: int = 10,
        metric: Metric = "cosine",
        scale: float = 14.3,
        floor: float = 0.01,
        memory_dtype: MemoryDtype = "float32",
    ) -> None:
        super().__init__(input_shape, num_classes)
        check_metric(metric, scale)
        require_choice("memory_dtype", memory_dtype, tuple(DTYPES))
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ConfigError(f"k is {k}, expected a whole number of neighbours, at least 1")
        if not 0 < floor < 1:
            raise ConfigError(f"floor is {floor}, expected a probability between 0 and 1, both excluded")
        self.embedding_dim = math.prod(input_shape.dims)
        self.head = KNNHead(self.embedding_dim, num_classes, k, metric, scale, floor, DTYPES[memory_dtype])

    def embed(self, x: Float[Tensor, "batch channels values"]) -> Float[Tensor, "batch embedding"]:
        """Flatten the channels."""
        return x.flatten(1)

    @torch.no_grad()
    def memorize(self, features: Float[Tensor, "clips channels values"], targets: Tensor) -> None:
        """Store the embeddings of the training clips; see :meth:`AudioModel.memorize`."""
        self.head.fill(self.embed(features), targets)


def _check_rows(name: str, rows: Tensor, shapes: list[torch.Size]) -> None:
    """Raise ValueError for stored embeddings of another shape or with values that are not finite."""
    if not rows.is_floating_point() or rows.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"{name} is {_kind(rows)}, expected floating-point numbers of shape {expected}")
    if not rows.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
