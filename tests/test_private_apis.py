"""Private names of libraries that this package uses: each is listed here, and looked up, so that a change shows.

A name is found in three ways: it is imported, it is an attribute that nothing here defines, or it is a method of a
library's class that a class here overrides.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torchmetrics import MeanMetric

import audio_lightning

PACKAGE = Path(audio_lightning.__file__).parent

NAMES = (
    "hydra._internal.callbacks.Callbacks",
    "hydra._internal.config_loader_impl.ConfigLoaderImpl._apply_overrides_to_config",
    "hydra._internal.config_loader_impl.get_overrides_dirname",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra._internal.utils.get_args_parser",
    "hydra.core.override_parser.types.Override._get_value_element_as_str",
    "lightning.pytorch.strategies.launchers._SubprocessScriptLauncher",
    "omegaconf._utils.get_yaml_loader",
    "pickle._Unpickler",
    "tensorboard.summary.writer.event_file_writer._AsyncWriterThread",
    "torch._dynamo.exc.TorchDynamoException",
    "torch._dynamo.maybe_mark_dynamic",
    "torch._foreach_copy_",
    "torch._foreach_lerp_",
    "torch._inductor.cpp_builder.get_cpp_compiler",
    "torch._inductor.exc.InvalidCxxCompiler",
    "torch.nn.modules.batchnorm._BatchNorm",
    "torch.nn.modules.batchnorm._NormBase",
    "torch.nn.modules.conv._ConvNd",
    "torch.nn.modules.loss._Loss",
    "torch.nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported",
    "torch.utils._python_dispatch.TorchDispatchMode",
    "torch.utils._pytree.tree_flatten",
    "torch.utils._pytree.tree_leaves",
    "torch.utils._pytree.tree_map",
    "torch.utils._pytree.tree_unflatten",
    "wandb.Run._assert_can_log_artifact",
    "wandb.Run._public_api",
    "wandb_workspaces.reports.v2.Report._to_model",
    "wandb_workspaces.workspaces.Workspace._to_model",
)
"""Importable names."""

ATTRIBUTES: dict[str, Callable[[], Any]] = {
    "torchaudio.pipelines.Wav2Vec2Bundle._model_type": lambda: wav2vec2(),
    "torchaudio.pipelines.Wav2Vec2Bundle._params": lambda: wav2vec2(),
    "torchmetrics.Metric._defaults": MeanMetric,
    "torchmetrics.Metric._is_synced": MeanMetric,
    "torchmetrics.Metric._should_unsync": MeanMetric,
    "optuna.Study._storage": lambda: study(),
    "optuna.Study._study_id": lambda: study(),
    "optuna.Trial._trial_id": lambda: study().ask(),
}
"""Attributes of objects, and how to get such an object."""

CALLED = {
    "hydra._internal.callbacks.Callbacks": "config=None",
    "hydra._internal.callbacks.Callbacks.on_run_end": "self, config, **kwargs",
    "hydra._internal.callbacks.Callbacks.on_run_start": "self, config, **kwargs",
    "hydra._internal.config_loader_impl.ConfigLoaderImpl._apply_overrides_to_config": "overrides, cfg",
    "hydra._internal.config_loader_impl.get_overrides_dirname": "overrides, exclude_keys, item_sep, kv_sep",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper.split_arguments": "overrides, max_batch_size",
    "hydra._internal.utils.get_args_parser": "",
    "hydra.core.override_parser.types.Override._get_value_element_as_str": "value, space_after_sep=False",
    "omegaconf._utils.get_yaml_loader": "",
}
"""Parameters of functions and classes that are called."""

OVERRIDDEN = {
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping._evaluate_stopping_criteria",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint._save_checkpoint",
    "lightning.pytorch.callbacks.progress.rich_progress.RichProgressBar._get_train_description",
    "lightning.pytorch.callbacks.weight_averaging.WeightAveraging._copy_average_to_current",
    "lightning.pytorch.callbacks.weight_averaging.WeightAveraging._swap_models",
    "lightning.pytorch.strategies.fsdp.FSDPStrategy._setup_model",
    "lightning.pytorch.strategies.strategy.Strategy._setup_model",
    "logging.FileHandler._open",
    "torch.nn.modules.module.Module._apply",
    "torch.nn.modules.module.Module._load_from_state_dict",
}
"""Methods of library classes, each overridden in a class of this package."""

METACLASSES_SET = {"_abc_impl", "_backward_cls"}
"""Attributes that a metaclass (of ``abc``, of ``torch.autograd.Function``) sets in every class."""

PUBLIC = {"os._exit", "sys._getframe"}
"""Documented, although they begin with an underscore."""


def wav2vec2() -> Any:
    return pytest.importorskip("torchaudio").pipelines.WAV2VEC2_BASE


def study() -> Any:
    return pytest.importorskip("optuna").create_study()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported() -> set[str]:
    found = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] != "audio_lightning" and any(map(is_private, name.split(".")))}


def attributes() -> set[str]:
    """Private names after a dot that nothing in the package defines."""
    used, own = set(), set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute):
                if isinstance(node.ctx, ast.Store):
                    own.add(node.attr)
                elif is_private(node.attr) and ast.unparse(node) not in PUBLIC:
                    used.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
    return used - own


def modules() -> Iterator[ModuleType]:
    for entry in pkgutil.walk_packages([str(PACKAGE)], "audio_lightning."):
        if not entry.name.endswith("__main__"):
            try:
                yield importlib.import_module(entry.name)
            except ModuleNotFoundError as error:  # a package that is optional
                if str(error.name).startswith("audio_lightning"):
                    raise


def overridden() -> dict[str, tuple[Any, Any]]:
    """By the name of a library's method, that method and ours."""
    found = {}
    for module in modules():
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__:
                for base in cls.__mro__[1:]:
                    if base.__module__.partition(".")[0] not in ("audio_lightning", "abc", "enum", "typing"):
                        for name in vars(base).keys() & vars(cls).keys() - METACLASSES_SET:
                            if is_private(name):
                                full = f"{base.__module__}.{base.__qualname__}.{name}"
                                found[full] = vars(base)[name], vars(cls)[name]
    return found


def test_every_private_name_is_listed() -> None:
    listed = [*NAMES, *ATTRIBUTES]
    modules = {part for name in listed for part in name.split(".")}
    assert attributes() - modules - {"_target_"} == set()  # the last is Hydra's word in a configuration
    assert {name for name in imported() if not any(one.startswith(name) for one in listed)} == set()


def found(name: str) -> Any:
    parts = name.split(".")
    pytest.importorskip(parts[0])
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            return functools.reduce(getattr, parts[length:], importlib.import_module(".".join(parts[:length])))
    return pytest.fail(f"{name} is gone")


@pytest.mark.parametrize("name", NAMES)
def test_private_names_exist(name: str) -> None:
    found(name)


@pytest.mark.parametrize("name", CALLED)
def test_private_functions_have_the_same_parameters(name: str) -> None:
    parameters = inspect.signature(found(name)).parameters.values()
    assert ", ".join(str(value.replace(annotation=value.empty)) for value in parameters) == CALLED[name]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_private_attributes_exist(name: str) -> None:
    assert hasattr(ATTRIBUTES[name](), name.rpartition(".")[2])


def test_overridden_methods_are_called_as_before() -> None:
    found = overridden()
    assert found.keys() == OVERRIDDEN
    for name, (theirs, ours) in found.items():
        if not name.endswith("_load_from_state_dict"):  # ours hands on whatever it is given
            assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters], name
