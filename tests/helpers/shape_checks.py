"""The type checker that jaxtyping's import hook wraps functions of the package in (``addopts`` in pyproject.toml)."""

from beartype import BeartypeConf, beartype

# A whole number may stand for a float, as to a type checker; and names that are imported for one alone are not there.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
