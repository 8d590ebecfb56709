"""The pinned versions fit the declared ones, and the workflows call what the Makefile has."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (DECLARED["dependencies"], *DECLARED["optional-dependencies"].values())
    for line in lines
    if not line.startswith("audio-lightning[")
]
PINNED = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^(\S+)==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_pinned_versions_are_allowed(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", ["torch", "torchvision", "torchaudio"])
def test_torch_has_lower_and_upper_bounds(name: str) -> None:
    """Not one version alone: users choose theirs by their CUDA."""
    (requirement,) = (declared for declared in REQUIREMENTS if declared.name == name)
    assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}


@pytest.mark.parametrize("workflow", sorted((PROJECT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_make_targets_of_workflows_exist(workflow: Path) -> None:
    made = set(re.findall(r"make ([a-z-]+)", workflow.read_text()))
    assert made <= set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.MULTILINE))
