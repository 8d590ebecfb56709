"""The type checker behind jaxtyping's import hook (``addopts`` in pyproject.toml): shapes and types of arrays.

Other annotations are mypy's. Checked at run time, they would refuse what tests hand over on purpose, such as a value
that a configuration must not have. Of lists of arrays each may have sizes of its own, and is not looked at. A network
that is compiled is checked where it is not.
"""

from collections.abc import Callable
from functools import wraps
from types import UnionType
from typing import Any, Union, get_args, get_origin

import torch
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the annotated arrays of a function by an empty jaxtyped function of the same signature."""
    arrays = {name: hint for name, hint in function.__annotations__.items() if _holds_arrays(hint)}
    if not arrays:
        return function
    function.__annotations__ = arrays
    checked = _checked(function)

    @wraps(function)
    def check_unless_compiling(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if torch.compiler.is_compiling() else checked(*args, **kwargs)

    return check_unless_compiling


def _holds_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return get_origin(hint) in (Union, UnionType, tuple) and any(map(_holds_arrays, get_args(hint)))
