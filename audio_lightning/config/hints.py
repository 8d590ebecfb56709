"""Suggestions for unknown keys, choices and arguments."""

import os
import re
import shlex
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config.keys import all_keys, keys_of_choices
from audio_lightning.config.location import choice_file, choices, groups, searched
from audio_lightning.config.renamed import CHOICES, key_now
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.trust import trusted_modules

MOST_LISTED = 8
"""Maximum number of choices to list in addition to the nearest one."""

SYNONYMS = {
    "trainer.max_epochs": "epochs num_epochs n_epochs nb_epochs epoch max_epoch num_train_epochs",
    "trainer.max_steps": "steps num_steps iterations",
    "trainer.devices": "gpus num_gpus n_gpus num_devices n_devices gpu_ids",
    "trainer.accelerator": "device",
    "trainer.gradient_clip_val": "grad_clip clip_grad clip_grad_norm max_grad_norm gradient_clip grad_clip_val",
    "trainer.accumulate_grad_batches": "accumulate gradient_accumulation_steps accumulation_steps grad_accum",
    "data.root": "path data_dir data_path data_root dataset_path dataset_dir root_dir input_dir audio_dir folder",
    "data.batch_size": "bs batch train_batch_size per_device_train_batch_size",
    "data.num_workers": "workers n_workers",
    "data.sample_rate": "sr fs sampling_rate",
    "data.clip_seconds": "duration clip_length clip_duration seconds",
    "data.validation_fraction": "val_split val_fraction val_size validation_split valid_fraction",
    "data.test_fraction": "test_split test_size",
    "data.test_fold": "fold",
    "optimizer.lr": "learning_rate base_lr initial_lr",
    "optimizer.weight_decay": "wd l2",
    "loss.label_smoothing": "smoothing",
    "model.pretrained": "weights",
    "seed": "random_seed random_state manual_seed",
    "monitor": "metric",
    "trusted_modules": "trust",
    "resume": "checkpoint ckpt ckpt_path resume_from resume_from_checkpoint",
    "hydra.run.dir": "output_dir out_dir log_dir save_dir run_dir run_name task_name exp_name",
    "data": "dataset",
    "feature": "features front_end",
    "model": "arch architecture network net backbone",
    "optimizer": "optim opt",
    "scheduler": "lr_scheduler sched",
    "augment": "augmentation augmentations aug",
    "experiment": "config recipe preset",
    "trainer=gpu": "gpu cuda use_gpu use_cuda",
    "trainer=amp": "amp fp16 bf16 mixed_precision use_amp",
    "trainer=ddp": "distributed",
    "debug=fdr": "fast_dev_run",
    "callbacks=early_stopping": "early_stopping early_stop",
    "callbacks=ema": "ema use_ema",
    "logger=wandb": "wandb use_wandb",
    "logger=tensorboard": "tensorboard tb",
    "python sweep.py sweep=search": "hparams_search optuna",
}
"""Keys and overrides of this program, with their names in other programs; a typed value is added to a bare key."""

RECORDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aif", ".aiff")
"""Suffixes of common audio files, for suggestions only."""

INFERRED = "num_classes n_classes classes num_labels in_channels input_size input_shape input_dim"
"""Names of options that are inferred from the data and the feature."""

CHOICE_SYNONYMS = {
    "feature=logmel": "melspectrogram melspec logmelspectrogram",
    "feature=spectrogram": "stft fft",
    "feature=waveform": "raw wave wav audio",
    "model=dnn": "mlp",
    "model=panns": "cnn14 cnn10 cnn6",
    "model=ast": "vit",
    "scheduler=plateau": "reducelronplateau",
    "scheduler=cosine": "cosineannealing cosineannealinglr warmupcosine",
    "scheduler=decay": "exponential exponentiallr step steplr",
    "trainer=gpu": "cuda",
    "trainer=amp": "fp16 bf16 mixed",
    "debug=fdr": "fastdevrun default",
    "logger=tensorboard": "tb",
    "callbacks=early_stopping": "earlystop",
}
"""Choices, with their names in other programs, in lower case without separators."""


def unknown_key(parts: list[str], depth: int, node: Any, base: DictConfig) -> str:
    """Message about an unknown key.

    Args:
        parts: the parts of the dotted key; ``parts[depth]`` is not in ``node``.
        depth: index of the unknown part.
        node: the node above the unknown part.
        base: the composed configuration.
    """
    key, typed, parent = ".".join(parts), ".".join(parts[: depth + 1]), ".".join(parts[:depth])
    if new := key_now(key, node.get("_target_") if isinstance(node, DictConfig) else None):
        return f"{key}: renamed; type {new}"
    if having := keys_of_choices().get(key):
        group = parts[0]
        if group == "sweep":
            return f"there is no key {key} of a training; it is one of python sweep.py"
        chosen = base.hydra.runtime.choices.get(group) if "hydra" in base else None
        return f"there is no key {key}{f' with {group}={chosen}' if chosen else ''}; it needs {group}={one_of(having)}"
    if _plain(parts[-1]) in map(_plain, INFERRED.split()):
        return f"there is no key {typed}: it is inferred from the data and the feature; leave it out"
    if depth and not isinstance(node, DictConfig):
        return f"there is no key {typed}: {parent} is a single value"
    if (new := key_now(key, None)) and (new in keys_of_choices() or new in all_keys(base)):
        return f"{key}: renamed; type {_with_choice(new, base)}"
    if meant := meant_by(parts[-1], base):
        return f"there is no key {typed}; did you mean {meant}?"
    known = [str(name) for name in node if name not in ("_target_", "hydra")] + (groups() if not depth else [])
    if near := get_close_matches(parts[depth], known, n=1, cutoff=0.6):
        return f"there is no key {typed}; did you mean {f'{parent}.' * bool(parent)}{near[0]}?"
    words = [*_by_word(base), *(_plain(word) for words in SYNONYMS.values() for word in words.split())]
    if similar := get_close_matches(_plain(parts[-1]), words, n=1, cutoff=0.8):
        return f"there is no key {typed}; did you mean {meant_by(similar[0], base)}?"
    listed = ", ".join(sorted(set(known)))
    return f"there is no key {typed} ({f'{parent} has' if parent else 'keys'}: {listed})"


def meant_by(word: str, base: DictConfig) -> str | None:
    """Key or override for a word: the last part of a key, another spelling, or a name from another program."""
    word = _plain(word)
    for meant, words in SYNONYMS.items():
        if word in map(_plain, words.split()):
            return meant if "=" in meant else _shown([meant], base)
    found = _by_word(base).get(word)
    return _shown(found, base) if found else None


def unknown_choice(group: str, name: str) -> str:
    """Message about a choice that does not exist."""
    if new := CHOICES.get(f"{group}={name}"):
        return f"{group}={name}: renamed; type {new}"
    known, plain = choices(group), _plain(name)
    message = f"{group}={name}: there is no such {group}"
    if group == "data" and (found := _source_of(Path(os.path.expanduser(name)))):
        return f"{message}; for your own recordings, use {found}"
    same = [choice for choice in known if _plain(choice) == plain]
    if same or (same := [choice for choice in known if plain in CHOICE_SYNONYMS.get(f"{group}={choice}", "").split()]):
        return f"{message}; did you mean {same[0]}?"
    for choice in sorted(known, key=len, reverse=True):
        if plain.startswith(_plain(choice)) and (option := _option_of(group, choice, plain[len(_plain(choice)) :])):
            return f"{message}; did you mean {group}={choice} {option}?"
    hint = did_you_mean(name.lower(), known)
    # A trusted module usually comes with YAML files.
    yaml = "; for a YAML file of your own, add --config-dir DIR" if trusted_modules() and not searched() else ""
    if hint and len(known) > MOST_LISTED:
        return message + hint + yaml
    own = yaml or ("; for your own recordings, use data=folder data.root=DIR" if group == "data" else "")
    return f"{message}{hint} (choices: {', '.join(known)}){own}"


def source_of(root: Path) -> str:
    """Overrides for a folder of recordings: the data source that fits its files, and the folder."""
    typed = shlex.quote(f"data.root={root}")
    inside: list[Path] = []
    with suppress(OSError):  # an unreadable folder, reported by the data source
        inside = sorted(root.iterdir())
    tables = [path for path in inside if path.suffix in (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")]
    for marker, name in (
        ("metadata/UrbanSound8K.csv", "urbansound8k"),
        ("meta/esc50.csv", "esc50"),
        ("_background_noise_", "speech_commands"),
    ):
        if (root / marker).exists():
            return f"data={name} {typed}"
    if has_annotation_files([path.name for path in inside]):
        return f"data=annotations {typed}"
    has_folders = any(path.is_dir() for path in inside)
    table = "" if has_folders and not tables else f"data=table {typed} data.table="
    table += (shlex.quote(tables[0].name) if tables else "FILE.csv") if table else ""
    folder = f"data=folder {typed} (a folder for each class)"
    return table if tables and not has_folders else f"{folder}, or {table}" if table else folder


def has_annotation_files(names: list[str]) -> bool:
    """Whether the names include a text file named after a recording, as label tracks and selection tables are."""
    others = {name.rpartition(".")[0] for name in names if name.lower().endswith(RECORDINGS)}
    return any(
        ".".join(parts[:count]) in others
        for parts in (name.split(".") for name in names if name.endswith(".txt"))
        for count in range(1, len(parts))
    )


def one_of(names: list[str]) -> str:
    """Join up to three names with commas and "or"."""
    if len(names) > 3:
        return ", ".join([*names[:3], "..."])
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _source_of(path: Path) -> str | None:
    if os.path.isdir(path):  # Path.is_dir() raises for an impossible file name
        return source_of(path)
    if os.path.isfile(path):
        return f"data=table {shlex.quote(f'data.root={path.parent}')} {shlex.quote(f'data.table={path.name}')}"
    return "data=folder data.root=DIR" if "/" in str(path) else None


def _option_of(group: str, choice: str, rest: str) -> str | None:
    """Option whose comment lists ``rest`` as a value: ``resnet50`` is ``model=resnet`` with ``model.depth=50``."""
    text = choice_file(group, choice).read_text(encoding="utf-8") if rest else ""
    for line in re.findall(r"^\w+: .+#.*\|.*$", text, re.MULTILINE):
        key, _, comment = line.partition(":")
        for value in re.findall(r"\w+", comment.partition("#")[2]):
            if _plain(value) == rest:
                return f"{group}.{key}={value}"
    return None


def _by_word(base: DictConfig) -> dict[str, list[str]]:
    """Map the last part of a key to all keys that end in it: keys of ``base``, otherwise keys of other choices."""
    found: dict[str, list[str]] = {}
    for keys in (all_keys(base), keys_of_choices()):
        more: dict[str, list[str]] = {}
        for key in keys:
            same = more.setdefault(_plain(key.rpartition(".")[2]), [])
            same += [key] if key not in same else []
        found = more | found
    return found


def _shown(keys: list[str], base: DictConfig) -> str:
    return one_of([_with_choice(key, base) for key in keys])


def _with_choice(key: str, base: DictConfig) -> str:
    if key == "data.root" and str(OmegaConf.select(base, "data._target_")).endswith(".Demo"):
        return "data=folder data.root"  # data.root of the demo is a folder of generated recordings
    having = keys_of_choices().get(key)
    if not having or key in all_keys(base):
        return key
    group = key.partition(".")[0]
    return f"{key} ({'of python sweep.py' if group == 'sweep' else f'with {group}={one_of(having)}'})"


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())
