"""Griffe extension: what docstrings and modules look like on the pages of the API."""

import re
from typing import Any

import griffe


class ApiPages(griffe.Extension):
    """Render ``Example:`` sections as code, and leave constants of modules out."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename ``Example:`` to ``Examples:``, the only heading whose ``>>>`` lines Griffe takes for code."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Remove attributes with names in capitals."""
        for name, member in list(mod.members.items()):
            if not member.is_alias and member.is_attribute and name.isupper():
                mod.del_member(name)
