"""Nearest centroid and k nearest neighbours: equality with scikit-learn, and the memory of training clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from running import Killed, kill_at, resume, run
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor
from torch.nn import functional

from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.inference.load import load_classifier
from audio_lightning.models.memory import memory_names
from audio_lightning.models.neighbours import KNN, Centroid
from audio_lightning.run_folder import RunFolder

VALUES, CLASSES = 6, 4
SHAPE = FeatureShape("waveform", (1, VALUES), is_sound=False)
HEADS = (Centroid, KNN)


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings of clips in overlapping clusters, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(count) % CLASSES
    centers = torch.randn(CLASSES, VALUES, generator=torch.Generator().manual_seed(9))
    return (centers[target] + torch.randn(count, VALUES, generator=generator)).unsqueeze(1), target


def filled(cls: type[Centroid | KNN], *, clips: int = 60, several: bool = False, **options: Any) -> Centroid | KNN:
    """A network in evaluation mode that has memorized some clips."""
    network = cls(SHAPE, CLASSES, **options)
    x, target = rows(clips)
    network.memorize(x, labels(target) if several else target)
    return network.eval()


def labels(target: Tensor) -> Tensor:
    """Rows of 0 and 1: the class, and for every third clip also the next one."""
    hot = functional.one_hot(target, CLASSES).float()
    hot[::3] += functional.one_hot((target[::3] + 1) % CLASSES, CLASSES)
    return hot


def unit(x: Tensor) -> np.ndarray:
    return functional.normalize(x.squeeze(1)).numpy()


@torch.no_grad()
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_centroid_chooses_the_classes_of_scikit_learn(metric: str) -> None:
    network = filled(Centroid, metric=metric)
    (known, target), (x, _) = rows(60), rows(300, seed=1)
    if metric == "euclidean":
        expected = NearestCentroid().fit(known.squeeze(1).numpy(), target.numpy()).predict(x.squeeze(1).numpy())
    else:  # on the unit sphere, the most similar mean is the nearest one of the means brought back onto it
        reference = NearestCentroid().fit(unit(known), target.numpy())
        reference.centroids_ /= np.linalg.norm(reference.centroids_, axis=1, keepdims=True)
        expected = reference.predict(unit(x))
    assert network(x).argmax(1).tolist() == expected.tolist()
    assert len(set(expected.tolist())) == CLASSES


@torch.no_grad()
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_knn_has_the_probabilities_of_scikit_learn(metric: str) -> None:
    scale, floor, k = 5.0, 0.02, 7
    network = filled(KNN, metric=metric, k=k, scale=scale, floor=floor)
    (known, target), (x, _) = rows(60), rows(300, seed=1)

    def weights(distance: np.ndarray) -> np.ndarray:
        similarity = 1 - distance**2 / 2 if metric == "cosine" else -(distance**2) / VALUES
        return np.exp(scale * (similarity - similarity.max(1, keepdims=True)))

    whole = (unit(known), unit(x)) if metric == "cosine" else (known.squeeze(1).numpy(), x.squeeze(1).numpy())
    reference = KNeighborsClassifier(k, weights=weights).fit(whole[0], target.numpy())
    expected = (1 - floor) * reference.predict_proba(whole[1]) + floor / CLASSES
    torch.testing.assert_close(network(x).softmax(1), torch.from_numpy(expected).float(), atol=1e-4, rtol=1e-4)
    assert network(x).argmax(1).tolist() == reference.predict(whole[1]).tolist()


@torch.no_grad()
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_training_clip_is_not_its_own_neighbour(metric: str) -> None:
    """The prediction for the first clip, whose label is unique, depends on the mode; a duplicate counts."""
    x, _ = rows(20)
    target = torch.tensor([1] + [0] * 19)
    network = KNN(SHAPE, 2, k=1, metric=metric)
    network.memorize(x, target)
    assert network.eval()(x).argmax(1).tolist() == target.tolist()
    assert network.train()(x)[0].argmax() == 0

    network.memorize(torch.cat([x, x[:1]]), torch.cat([target, target[:1]]))
    assert network.train()(x)[0].argmax() == 1


@torch.no_grad()
def test_leaving_a_clip_out_equals_a_memory_without_the_clip() -> None:
    network = filled(KNN, k=5).train()
    x, target = rows(60)
    others = KNN(SHAPE, CLASSES, k=5).eval()
    others.memorize(x[1:], target[1:])
    torch.testing.assert_close(network(x)[:1], others(x[:1]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_knn_of_several_labels_has_the_share_of_neighbours_with_each() -> None:
    network = filled(KNN, several=True, k=10, scale=1e-3, floor=0.1)  # neighbours weigh nearly the same
    (known, target), (x, _) = rows(60), rows(30, seed=1)
    nearest = (torch.from_numpy(unit(x)) @ torch.from_numpy(unit(known)).T).topk(10).indices
    share = labels(target)[nearest].mean(1)
    torch.testing.assert_close(network(x).sigmoid(), 0.9 * share + 0.05, atol=1e-3, rtol=0)
    assert share.sum(1).max() > 1


@torch.no_grad()
def test_centroid_of_several_labels_compares_clips_with_and_without() -> None:
    """Odds of two Gaussians of the same variance, times the odds of the label."""
    network = filled(Centroid, several=True, metric="euclidean", scale=2.0)
    (known, target), (x, _) = rows(60), rows(30, seed=1)
    known, x, hot = known.squeeze(1), x.squeeze(1), labels(target).bool()
    for label in range(CLASSES):
        near, far = ((x - known[chosen].mean(0)).square().mean(1) for chosen in (hot[:, label], ~hot[:, label]))
        count = hot[:, label].sum()
        expected = 2 * (far - near) + torch.log((count + 0.5) / (60 - count + 0.5))
        torch.testing.assert_close(network(x.unsqueeze(1))[:, label], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_class_without_training_clips_is_not_chosen(metric: str, several: bool) -> None:
    x, target = rows(60)
    target = target % (CLASSES - 1)
    network = Centroid(SHAPE, CLASSES, metric=metric)
    network.memorize(x, functional.one_hot(target, CLASSES) if several else target)
    logits = network.eval()(x)
    assert logits.isfinite().all()
    assert CLASSES - 1 not in logits.argmax(1).tolist()
    assert not several or (logits[:, -1].sigmoid() < 0.01).all()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("cls", HEADS)
def test_training_scale_and_floor_lowers_the_loss(cls: type[Centroid | KNN], several: bool) -> None:
    begin = {"scale": 0.1, **({"floor": 0.5} if cls is KNN else {})}
    network = filled(cls, several=several, **begin).train()
    x, target = rows(60)
    loss = functional.binary_cross_entropy_with_logits if several else functional.cross_entropy
    wanted = labels(target) if several else target
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(loss(network(x), wanted))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    assert float(network.head.similarity.scale.detach()) > 0.5
    assert cls is Centroid or float(network.head.floor.detach()) < 0.25


@pytest.mark.parametrize("cls", HEADS)
@pytest.mark.parametrize("mode", [True, False])
def test_without_training_clips_logits_are_zeros(cls: type[Centroid | KNN], mode: bool) -> None:
    for metric in ("cosine", "euclidean"):
        network = cls(SHAPE, CLASSES, metric=metric).train(mode)
        logits = network(rows(3)[0])
        assert logits.tolist() == [[0.0] * CLASSES] * 3
        logits.sum().backward()


@torch.no_grad()
def test_a_single_training_clip_has_no_neighbours_in_training() -> None:
    network = filled(KNN, clips=1)
    x, _ = rows(1)
    assert network(x).argmax(1).item() == 0
    assert network.train()(x).tolist() == [[0.0] * CLASSES]


@torch.no_grad()
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("before", [None, 5])
@pytest.mark.parametrize("cls", HEADS)
def test_weights_load_whatever_number_of_clips_either_has(
    cls: type[Centroid | KNN], before: int | None, several: bool
) -> None:
    network, x = filled(cls, several=several), rows(9, seed=2)[0]
    other = cls(SHAPE, CLASSES, scale=1.0) if before is None else filled(cls, clips=before, scale=1.0)
    other.load_state_dict(network.state_dict())
    other.head.similarity.first_scale = network.head.similarity.first_scale  # an option, which checkpoints keep beside
    assert torch.equal(other.eval()(x), network(x))
    kinds = {name: value.dtype for name, value in network.state_dict().items()}
    assert {name: value.dtype for name, value in other.state_dict().items()} == kinds


def test_a_float16_memory_has_half_the_size_and_the_same_predictions() -> None:
    x = rows(100, seed=1)[0]
    whole, half = filled(KNN), filled(KNN, memory_dtype="float16")
    assert half.head.rows.element_size() == 2
    assert (half(x).argmax(1) == whole(x).argmax(1)).float().mean() > 0.98
    fresh = KNN(SHAPE, CLASSES, memory_dtype="float16")
    fresh.load_state_dict(half.state_dict())
    assert fresh.head.rows.dtype == torch.float16


@pytest.mark.parametrize(
    ("cls", "name", "wrong", "said"),
    [
        (KNN, "head.rows", torch.zeros(60, VALUES + 1), r"head\.rows is float32 \[60, 7\], expected .* \[60, 6\]"),
        (KNN, "head.rows", torch.tensor(1.0), r"head\.rows is float32 \[\], expected"),
        (KNN, "head.rows", torch.zeros(60, VALUES).long(), r"head\.rows is int64"),
        (KNN, "head.rows", torch.full((60, VALUES), torch.nan), r"head\.rows holds NaN"),
        (KNN, "head.targets", torch.zeros(59).long(), r"head\.targets is int64 \[59\], expected int64 \[60\] below 4"),
        (KNN, "head.targets", torch.full((60,), CLASSES), r"head\.targets is int64 \[60\], expected .* below 4"),
        (KNN, "head.targets", torch.full((60,), -1), r"head\.targets is int64 \[60\], expected .* below 4"),
        (KNN, "head.targets", torch.full((60, CLASSES), 2, dtype=torch.uint8), r"head\.targets is uint8 \[60, 4\]"),
        (KNN, "head.targets", None, r"head\.targets is missing, unlike head\.rows"),
        (Centroid, "head.centroids", torch.zeros(CLASSES, 2), r"head\.centroids is float32 \[4, 2\]"),
        (Centroid, "head.others", torch.zeros(2, VALUES), r"head\.others is .* \[4, 6\] or \[0, 6\]"),
        (Centroid, "head.counts", torch.zeros(2, CLASSES), r"head\.counts is float32 \[2, 4\]"),
    ],
)
def test_an_invalid_memory_is_refused(cls: type[Centroid | KNN], name: str, wrong: Tensor | None, said: str) -> None:
    state = filled(cls).state_dict()
    del state[name]
    if wrong is not None:
        state[name] = wrong
    with pytest.raises(ValueError, match=rf"^{said}"):
        cls(SHAPE, CLASSES).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k is 0, expected a whole number"),
        ({"k": 2.5}, "k is 2.5, expected a whole number"),
        ({"metric": "manhattan"}, "metric is 'manhattan', expected one of: cosine, euclidean"),
        ({"scale": 0.0}, "scale is 0.0, expected a number greater than 0"),
        ({"floor": 1.0}, "floor is 1.0, expected a probability"),
        ({"memory_dtype": "int8"}, "memory_dtype is 'int8', expected one of: float32, float16"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        KNN(SHAPE, CLASSES, **options)


def test_values_beyond_float16_are_refused() -> None:
    network = KNN(SHAPE, CLASSES, metric="euclidean", memory_dtype="float16")
    with pytest.raises(ConfigError, match=r"^model=knn: .*; use model\.memory_dtype=float32"):
        network.memorize(torch.full((2, 1, VALUES), 1e5), torch.tensor([0, 1]))


@torch.no_grad()
@pytest.mark.parametrize("cls", HEADS)
def test_an_ensemble_gives_every_member_its_clips(cls: type[Centroid | KNN]) -> None:
    x, target = rows(60)
    alike = Ensemble(lambda shape: cls(shape, CLASSES), 2, SHAPE)
    alike.memorize(x, target)
    torch.testing.assert_close(alike.eval()(x), filled(cls)(x))

    stereo = FeatureShape("waveform", (2, VALUES), is_sound=False)
    apart = Ensemble(lambda shape: cls(shape, CLASSES), 2, stereo, apart=True)
    apart.memorize(torch.cat([x, x.flip(2)], dim=1), target)
    names = memory_names(apart)
    assert names == [name for name in apart.state_dict() if name.rpartition(".")[2] in alike.members[0].head.stored]
    assert not torch.equal(apart.state_dict()[names[0]], apart.state_dict()[names[len(names) // 2]])


@pytest.mark.parametrize("cls", HEADS)
def test_each_can_be_compiled_to_a_graph_for_any_batch(cls: type[Centroid | KNN]) -> None:
    for several in (False, True):
        network, x = filled(cls, several=several), rows(5, seed=3)[0]
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(network, (rows(3)[0],), dynamic_shapes=({0: batch},)).module()
        torch.testing.assert_close(program(x), network(x))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny.write_urbansound8k(tmp_path / "data", folds=4, clips=6)


def trained(root: Path, folder: Path, *overrides: str) -> dict[str, Any]:
    return run(root, folder, *overrides, settings=tiny.FROZEN_OVERRIDES)


@pytest.mark.parametrize("model", ["knn", "centroid"])
def test_it_is_trained_on_a_published_network_and_loads(model: str, root: Path, tmp_path: Path) -> None:
    metrics = trained(root, tmp_path / "run", f"model={model}", "trainer.max_epochs=2")
    assert metrics["test/accuracy"] >= 0.8

    found = load_classifier(tmp_path / "run")
    network = found.networks[0]
    clips = sum(found.data["clips_of_classes"])
    assert len(network.head.rows if model == "knn" else network.head.counts[0]) == (clips if model == "knn" else 3)
    known = read_checkpoint(RunFolder(tmp_path / "run").best)["state_dict"]
    for name in memory_names(network):
        assert torch.equal(known[f"network.{name}"], network.state_dict()[name])
    values = network.embedding_dim
    products = values * clips + min(network.head.k, clips) * 3 if model == "knn" else values * 3
    assert metrics["macs"] == products  # with those of the stored clips
    if model == "knn":
        assert torch.bincount(network.head.targets).tolist() == found.data["clips_of_classes"]


@pytest.mark.parametrize(
    "choices",
    [
        ["model=knn", "callbacks=[swa]"],
        ["model=centroid", "callbacks=[ema]"],
        ["model=knn", "feature=waveform", "feature.normalize=statistics"],
    ],
    ids=["knn swa", "centroid ema", "knn waveform"],
)
def test_a_killed_training_is_resumed(
    choices: list[str], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weight averages are copies of the network made before the checkpoint is loaded."""
    sound = "feature=waveform" in choices
    settings = [*choices, *tiny.FROZEN_OVERRIDES[3:]] if sound else [*tiny.FROZEN_OVERRIDES, *choices]
    whole = run(root, tmp_path / "whole", settings=settings)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=0)
        with pytest.raises(Killed):
            run(root, tmp_path / "killed", settings=settings)
    resumed = resume(tmp_path / "killed")
    assert {name: resumed[name] for name in ("test/accuracy", "test/loss")} == {
        name: whole[name] for name in ("test/accuracy", "test/loss")
    }


def test_ensembles_of_members_and_of_checkpoints_predict(root: Path, tmp_path: Path) -> None:
    metrics = trained(root, tmp_path / "members", "model=knn", "ensemble.num_members=2", "trainer.max_epochs=1")
    assert metrics["test/accuracy"] >= 0.8
    members = load_classifier(tmp_path / "members")
    assert len(members.networks[0].members) == 2

    few = tiny.write_urbansound8k(tmp_path / "few", folds=4, clips=3, seed=1)
    trained(few, tmp_path / "fewer", "model=knn", "trainer.max_epochs=1")
    paths = [RunFolder(tmp_path / name).best for name in ("members", "fewer")]
    write_ensemble(tmp_path / "both.ckpt", paths, [1, 1])
    clips = 0.1 * torch.randn(3, members.task.num_samples)
    alone = [load_classifier(path).probabilities(clips) for path in paths]
    both = load_classifier(tmp_path / "both.ckpt")
    torch.testing.assert_close(both.probabilities(clips), torch.stack(alone).mean(0), atol=1e-4, rtol=1e-4)
    sizes = [len(network.state_dict()[memory_names(network)[0]]) for network in both.networks]
    assert sizes[0] != sizes[1]


def test_a_warm_start_takes_scale_and_floor_but_not_the_clips(root: Path, tmp_path: Path) -> None:
    trained(root, tmp_path / "first", "model=knn", "trainer.max_epochs=2")
    fewer = tiny.write_urbansound8k(tmp_path / "fewer", folds=4, clips=3, seed=1)
    begins = ["model=knn", f"model.pretrained={tmp_path / 'first'}", "trainer.max_epochs=1", "optimizer.lr=1e-9"]
    trained(fewer, tmp_path / "second", *begins)
    heads = [load_classifier(tmp_path / name).networks[0].head for name in ("first", "second")]
    assert len(heads[1].rows) < len(heads[0].rows)
    torch.testing.assert_close(heads[1].floor, heads[0].floor)
    assert float(heads[0].floor_logit.detach()) != 0


def test_fine_tuning_refuses_a_memory_in_one_line(root: Path, tmp_path: Path) -> None:
    trained(root, tmp_path / "first", "model=knn", "trainer.max_epochs=1")
    finetuned = ["feature=waveform", "feature.normalize=none", "model=published", *tiny.FROZEN_OVERRIDES[3:]]
    with pytest.raises(ConfigError, match=r"these are the weights of another network [^\n]+$"):
        run(root, tmp_path / "second", f"model.pretrained={tmp_path / 'first'}", settings=finetuned)


def test_a_checkpoint_with_a_wrong_memory_is_refused_in_a_line(root: Path, tmp_path: Path) -> None:
    trained(root, tmp_path / "run", "model=knn", "trainer.max_epochs=1")
    path = RunFolder(tmp_path / "run").best
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["network.head.targets"] += 100
    write_checkpoint(path, checkpoint)
    with pytest.raises(CheckpointError, match=r"does not fit .*: network\.head\.targets is int64 .* below 3, [^\n]+$"):
        load_classifier(tmp_path / "run")


@pytest.mark.parametrize("model", ["knn", "centroid"])
def test_it_learns_several_labels(model: str, tmp_path: Path) -> None:
    hot = tiny.write_hot_table(tmp_path / "data", clips=12)
    columns = f"data.label_columns=[{','.join(tiny.CLASSES)}]"
    settings = ["data=table", "data.table=clips.csv", columns, *tiny.FROZEN_OVERRIDES]
    metrics = run(hot, tmp_path / "run", f"model={model}", "trainer.max_epochs=2", settings=settings)
    assert metrics["test/mean_average_precision"] >= 0.8
    head = load_classifier(tmp_path / "run").networks[0].head
    assert (head.targets if model == "knn" else head.others).dim() == 2
    assert len(head.rows if model == "knn" else head.others) > 0


def test_clips_are_memorized_without_augmentation(root: Path, tmp_path: Path) -> None:
    light = ["augment=light", "augment.waveform.shift.max_seconds=0.02", "trainer.max_epochs=1"]
    trained(root, tmp_path / "plain", "model=knn", "trainer.max_epochs=1")
    trained(root, tmp_path / "changed", "model=knn", *light)
    plain, changed = (load_classifier(tmp_path / name).networks[0].head.rows for name in ("plain", "changed"))
    torch.testing.assert_close(changed, plain)
