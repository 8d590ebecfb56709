"""Tables of renamed names, from ``audio_lightning/config/renamed.py``."""

from markdown_text import code, table

from audio_lightning.config import renamed


def renamed_names() -> str:
    """Return tables of all old names and the names that replace them."""
    keys = [(old, new) for old, new in renamed.KEYS.items()]
    keys += list(renamed.OPTIONS.items())
    keys += list(renamed.CHOICES.items())
    arguments = [
        (f"{cls.rpartition('.')[2]}.{old}", new)
        for cls, names in renamed.ARGUMENTS.items()
        for old, new in names.items()
    ]
    parts = [
        ("Keys and choices", keys),
        ("Arguments of classes", arguments),
        ("Entries of `metrics.json`", list(renamed.METRICS.items())),
        ("Classes", list(renamed.TARGETS.items())),
    ]
    return "\n\n".join(
        f"### {title}\n\n{table(('Old name', 'Name'), [(code(old), code(new)) for old, new in rows])}"
        for title, rows in parts
    )
