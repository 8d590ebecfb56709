"""Pages of the configuration: every key of every YAML below ``conf/``, with default, type and comment."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markdown_text import code, first_sentence, plain, table

CONF = Path(__file__).resolve().parents[2] / "conf"

GROUPS = {
    "data": "Data sets, and how their clips are cut, split, checked and loaded.",
    "feature": "Front ends: from the waveform to the input of the network.",
    "augment": "Augmentations of training clips.",
    "model": "Architectures.",
    "finetune": "Which layers of a pretrained network train, and how fast.",
    "loss": "Losses.",
    "metrics": "Metrics beside the standard ones.",
    "optimizer": "Optimizers.",
    "scheduler": "Learning rate schedules.",
    "trainer": "Arguments of Lightning's Trainer.",
    "callbacks": "Callbacks of the training.",
    "logger": "Loggers.",
    "experiment": "Whole recipes.",
    "debug": "Settings for finding mistakes.",
    "sweep": "Plans of sweeps.",
    "fit": "Presets of `audio-lightning fit`.",
    "hydra": "Folders and logging of Hydra.",
}
"""Folders of ``conf/`` in the order of the site. A new folder needs a line here, as a test checks."""

GLOBAL = "@package _global_"


@dataclass(frozen=True)
class Key:
    """One key of a YAML file.

    Attributes:
        name: dotted, as typed on the command line.
        default: the value as YAML; empty for a mapping whose keys follow.
        type: annotation of the argument that takes the value, or the type of the default; empty where unknown.
        comment: meaning, from the comment above the key or behind its value.
    """

    name: str
    default: str
    type: str
    comment: str


@dataclass(frozen=True)
class Choice:
    """One YAML file.

    Attributes:
        name: name of the choice.
        description: comment at the beginning of the file.
        target: full path of the class that the choice builds; None where it builds none.
        extends: entries of its defaults list.
        keys: all keys in their order.
    """

    name: str
    description: str
    target: str | None
    extends: tuple[str, ...]
    keys: tuple[Key, ...]


def groups() -> dict[str, list[Path]]:
    """Return the YAML files of every folder of ``conf/``."""
    return {folder.name: sorted(folder.glob("*.yaml")) for folder in sorted(CONF.iterdir()) if folder.is_dir()}


def read(path: Path) -> Choice:
    """Read the keys and comments of a YAML file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    in_group = path.parent != CONF
    prefix = f"{path.parent.name}." if in_group and GLOBAL not in text else ""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    description = _top(lines)
    keys: list[Key] = []
    target = None
    for name, node in pairs:
        if name.value == "_target_" and "." in node.value:
            target = node.value
    if pairs and _is_plain(pairs[0]) and _comment_above(lines, pairs[0][0].start_mark.line) == description:
        description = ""  # the comment is that of the first key
    for pair in pairs:
        keys += _keys(pair, prefix, lines, target, description)
    extends = tuple(_defaults(pairs))
    return Choice(path.stem, description, target, extends, tuple(keys))


def pages() -> dict[str, str]:
    """Return the Markdown of all pages by their path below the documentation folder."""
    files = groups()
    root = [read(CONF / name) for name in ("train.yaml", "sweep.yaml", "fit.yaml")]
    listed = [
        (f"[`{group}`](configuration/{group}.md)", text, ", ".join(code(path.stem) for path in _public(files[group])))
        for group, text in GROUPS.items()
    ]
    index = [
        INTRODUCTION,
        table(("Group", "Content", "Choices"), listed),
        "## train.yaml: keys of a training",
        _key_table(root[0].keys),
        "`sweep.yaml` adds the group [`sweep`](configuration/sweep.md) and `fit.yaml` the group "
        "[`fit`](configuration/fit.md).",
    ]
    found = {"reference/configuration.md": "\n\n".join(index) + "\n"}
    for group, text in GROUPS.items():
        parts = [f"# Configuration: {group}", text, _usage(group, files[group])]
        parts += [_section(group, read(path)) for path in files[group]]
        found[f"reference/configuration/{group}.md"] = "\n\n".join(part for part in parts if part) + "\n"
    return found


INTRODUCTION = """# Configuration

These pages are generated from the YAML files in `conf/`. Every line is a choice (`model=resnet`) or a key
(`optimizer.lr=3e-4`) of the command line. `python train.py --cfg job` prints the configuration of a command, with
all its keys.

The type of a key is the annotation of the argument that takes it, or the type of its default. `null` stands for "none",
`???` for a key that must be set."""


def _usage(group: str, paths: list[Path]) -> str:
    names = [path.stem for path in _public(paths)]
    if group in ("hydra", "fit"):
        return ""
    command = "sweep.py" if group == "sweep" else "train.py"
    return f"```bash\npython {command} {group}={names[0]}\n```" if names else ""


def _public(paths: list[Path]) -> list[Path]:
    return [path for path in paths if not path.stem.startswith("_")]


def _section(group: str, choice: Choice) -> str:
    parts = [f"## {choice.name.replace('_', chr(92) + '_')} {{ #{choice.name} }}", plain(choice.description)]
    if choice.target:
        parts.append(_class_line(choice.target))
    if choice.extends:
        parts.append("Extends " + ", ".join(_extended(group, line) for line in choice.extends) + ".")
    parts.append(_key_table(choice.keys, anchor=choice.name))
    return "\n\n".join(part for part in parts if part)


def _class_line(target: str) -> str:
    about = first_sentence(inspect.getdoc(cls)) if (cls := _resolved(target)) is not None else ""
    if target.startswith("audio_lightning."):
        link = f'<autoref optional identifier="{target}"><code>{target}</code></autoref>'
        return f"{link}: {plain(about)}" if about else link
    return code(target)


def _extended(group: str, line: str) -> str:
    key, _, name = line.partition("=")
    if not name:
        return f"[`{key}`](#{key})"
    other = key.removeprefix("override ").lstrip("/")
    return f"[`{other}={name}`]({other}.md#{name})" if other in GROUPS and name != "null" else code(f"{other}={name}")


def _key_table(keys: tuple[Key, ...], anchor: str = "") -> str:
    rows = []
    for key in keys:
        identity = f"{anchor}-{key.name}" if anchor else key.name
        rows.append((f'<code id="{identity}">{key.name}</code>', code(key.default), code(key.type), plain(key.comment)))
    return table(("Key", "Default", "Type", "Meaning"), rows) if rows else ""


def _keys(pair: tuple[Any, Any], prefix: str, lines: list[str], target: str | None, description: str) -> Iterator[Key]:
    """Yield the key of a node and all below it; keys of Hydra itself are left out."""
    key, node = pair
    name = key.value
    if name in ("_target_", "defaults", "_partial_"):
        return
    nested = isinstance(node, yaml.MappingNode) and node.value
    comment = _comment(lines, key, node)
    if comment == description:
        comment = ""
    if not nested:
        yield Key(f"{prefix}{name}", _text(node), _type(target, name, node), comment)
        return
    inner = next((value.value for entry, value in node.value if entry.value == "_target_"), None)
    about = comment
    if inner is not None and not about:
        cls = _resolved(inner)
        about = first_sentence(inspect.getdoc(cls)) if cls is not None else ""
    yield Key(f"{prefix}{name}", "", inner.rpartition(".")[2] if inner else "mapping", about)
    for entry in node.value:
        yield from _keys(entry, f"{prefix}{name}.", lines, inner, "")


def _comment(lines: list[str], key: Any, node: Any) -> str:
    above = _comment_above(lines, key.start_mark.line)
    beside = ""
    if not (isinstance(node, yaml.MappingNode) and node.value and node.start_mark.line != key.start_mark.line):
        rest = lines[node.end_mark.line][node.end_mark.column :] if node.end_mark.line < len(lines) else ""
        beside = rest.partition("#")[2].strip() if rest.strip().startswith("#") else ""
    elif "#" in lines[key.start_mark.line]:
        beside = lines[key.start_mark.line].partition("#")[2].strip()
    return " ".join(part for part in (above, beside) if part)


def _comment_above(lines: list[str], line: int) -> str:
    """Return the comment that ends right above a line."""
    first = line
    while first > 0 and lines[first - 1].strip().startswith("#"):
        first -= 1
    text = [part.strip().removeprefix("#").strip() for part in lines[first:line]]
    return " ".join(part for part in text if part != GLOBAL)


def _top(lines: list[str]) -> str:
    """Return the comment at the beginning of a file."""
    text = []
    for line in lines:
        if not line.startswith("#"):
            break
        text.append(line.removeprefix("#").strip())
    return " ".join(part for part in text if part != GLOBAL)


def _is_plain(pair: tuple[Any, Any]) -> bool:
    return isinstance(pair[1], yaml.ScalarNode) and pair[0].value not in ("_target_", "defaults")


def _defaults(pairs: list[tuple[Any, Any]]) -> Iterator[str]:
    for name, node in pairs:
        if name.value != "defaults":
            continue
        for entry in node.value:
            if isinstance(entry, yaml.MappingNode):
                yield from (f"{key.value}={value.value}" for key, value in entry.value)
            elif entry.value != "_self_":
                yield entry.value


def _text(node: Any) -> str:
    """Return a value as it would be typed."""
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.value or node.style is None else "''"
    loaded = yaml.safe_load(yaml.serialize(node, Dumper=yaml.SafeDumper))
    return yaml.safe_dump(loaded, default_flow_style=True, width=10_000, allow_unicode=True).strip()


def _type(target: str | None, name: str, node: Any) -> str:
    annotation = _annotations(target).get(name, "") if target else ""
    if annotation:
        return annotation
    if isinstance(node, yaml.SequenceNode):
        return "list"
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    kind = node.tag.rpartition(":")[2]
    return {"null": "", "merge": ""}.get(kind, kind)


def _annotations(target: str) -> Mapping[str, str]:
    cls = _resolved(target)
    if cls is None:
        return {}
    found: dict[str, str] = {}
    for base in getattr(cls, "__mro__", (cls,)):  # options that a class hands on to the class above it
        try:
            parameters = inspect.signature(base.__init__ if inspect.isclass(base) else base).parameters
        except (TypeError, ValueError):
            continue
        for name, parameter in parameters.items():
            if parameter.annotation is not inspect.Parameter.empty:
                found.setdefault(name, _readable(parameter.annotation))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


def _readable(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(
        r"\b(?:typing|collections\.abc|torch|audio_lightning|lightning|datetime|pathlib)(?:\.\w+)*\.", "", text
    )
    text = re.sub(r"Union\[(\w+), NoneType\]|Optional\[(\w+)\]", r"\1\2 | None", text)
    return text if len(text) <= 60 else ""


def _resolved(target: str) -> Any:
    """Import the class of a target; None where an optional library is missing."""
    module, _, name = target.rpartition(".")
    if not module:
        return None
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return None
