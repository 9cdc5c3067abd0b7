import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from pip_requirements_parser import RequirementsFile

from tests.conftest import ROOT

OURS = {"digest", "subscribers", "scheduler"}
# Imported by name of their own, but part of what a declared distribution is.
PARTS = {"python-http-client": "sendgrid"}
# Not imported by us: a driver that a database URL names, the time zones that zoneinfo reads, and what trafilatura
# asks of lxml by the name of an extra that older versions of pip do not find; and the files of a typeface.
USED_OTHERWISE = {"font-source-serif-pro", "lxml-html-clean", "psycopg", "tzdata"}


def foreign(file: Path) -> Iterator[str]:
    """Name the top-level modules that a file imports from elsewhere than the standard library and us."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
        else:
            continue
        yield from {m.split(".")[0] for m in modules} - OURS - set(sys.stdlib_module_names)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_distribution_is_declared_and_every_declared_one_is_used() -> None:
    files = [ROOT / "scheduler.py", *(ROOT / "digest").rglob("*.py"), *(ROOT / "subscribers").rglob("*.py")]
    owners = packages_distributions()
    imported = {normal(owners[module][0]) for file in files for module in foreign(file)}
    imported = {PARTS.get(name, name) for name in imported}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {normal(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in project["dependencies"]}
    assert imported - declared == set()
    assert declared - imported == USED_OTHERWISE


def list_needs(name: str) -> Iterator[Requirement]:
    """List what an installed distribution requires on this platform without its extras."""
    try:
        texts = requires(name) or ()
    except PackageNotFoundError:  # it's pinned for other platforms
        return
    for need in map(Requirement, texts):
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield need


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_the_pins_are_complete_so_pip_needs_to_resolve_nothing(file: str) -> None:
    """A resolver looks for releases: pip 23.2 tried the newest lxml, which has no pin, for lxml[html_clean]."""
    pins = {
        normal(pin.name): Version(pin.get_pinned_version)
        for pin in RequirementsFile.from_file(str(ROOT / file)).requirements
    }
    unmet = [
        f"{name}: {need}"
        for name in pins
        for need in list_needs(name)
        if normal(need.name) not in pins or not need.specifier.contains(pins[normal(need.name)], prereleases=True)
    ]
    assert unmet == []


@pytest.mark.parametrize("file", ["Makefile", ".ci/run", "tests/tools/upgrade_release.py"])
def test_pins_are_installed_alone(file: str) -> None:
    installs = [line for line in (ROOT / file).read_text("utf-8").splitlines() if "--require-hashes" in line]
    assert installs
    assert all("--no-deps" in line for line in installs)


def test_no_file_names_a_package_registry() -> None:
    hosts = ("pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "deb." + "debian.org")
    for file in (ROOT / "requirements.txt", ROOT / "requirements-dev.txt", ROOT / "pyproject.toml", ROOT / ".ci/run"):
        text = file.read_text("utf-8")
        assert not [host for host in hosts if host in text], file


def test_the_wheel_contains_the_product_and_no_tests_or_tools() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == ["digest", "subscribers", "scheduler.py"]
    assert not list((ROOT / "digest").rglob("test_*.py"))
