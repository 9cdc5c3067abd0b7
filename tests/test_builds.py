"""Builds can be told apart, installed over one another with pip, and repeated byte for byte."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import click
import pytest
from cyclonedx.model.bom import Bom
from packaging.requirements import Requirement
from packaging.version import Version
from pip_requirements_parser import RequirementsFile

from build_version import RELEASE, UNRELEASED, describe_build, list_changelog_sections
from digest.cli import digest
from tests.conftest import ROOT
from tests.tools.build_release import CHECKSUMS, build_release, build_wheel, read_distribution
from tests.tools.manual_pages import list_contexts, name_page

BUILT_FILES = (
    *("digest", "subscribers", "templates", "scheduler.py", "build_version.py"),
    *("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "CHANGELOG.md"),
)


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, changelog: str = "## Unreleased\n") -> str:
    """Commit the files of a folder, and return the version of a build of it."""
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}", "utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--allow-empty", "-m", "Change")
    return describe_build(folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--initial-branch", "main")
    return folder


def copy_product(folder: Path) -> Path:
    """Copy what a build reads, without Git's folder."""
    folder.mkdir(parents=True)
    for name in BUILT_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def test_the_version_agrees_with_the_changelog() -> None:
    sections = list_changelog_sections(ROOT)
    released = [Version(section) for section in sections if section != UNRELEASED]
    assert UNRELEASED not in sections[1:]
    assert released == sorted(set(released), reverse=True)
    if sections[0] == UNRELEASED:
        assert all(Version(RELEASE) > version for version in released)
    else:
        assert released[0] == Version(RELEASE)


def test_no_other_file_has_a_version_of_its_own() -> None:
    assert "version" not in re.findall(r"(?m)^(\w+) = ", (ROOT / "pyproject.toml").read_text("utf-8"))
    metadata = distribution("hls-digest").version
    assert metadata.startswith(RELEASE), "reinstall the checkout: make"


def test_each_commit_has_a_version_of_its_own_that_follows_its_ancestors(repository: Path) -> None:
    texts = [commit(repository), commit(repository)]
    texts.append(commit(repository, f"## {RELEASE} (2026-12-01)\n"))
    versions = [Version(text) for text in texts]
    assert versions == sorted(set(versions))
    assert [version.is_devrelease for version in versions] == [True, True, False]
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True)
    assert texts[-1] == f"{RELEASE}+3.g{head[:12]}"


def test_a_build_of_uncommitted_changes_says_so(repository: Path) -> None:
    clean = commit(repository)
    (repository / "untracked").touch()
    assert describe_build(repository) == clean
    (repository / "CHANGELOG.md").write_text("## Unreleased\n\nOther words\n", "utf-8")
    assert describe_build(repository) == f"{clean}.dirty"


def test_a_shallow_clone_and_files_without_git_come_before_every_counted_build(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository)
    counted = commit(repository)
    git(tmp_path, "clone", "--depth", "1", repository.as_uri(), "shallow")
    shallow = describe_build(tmp_path / "shallow")
    assert shallow == counted.replace(".dev2+", ".dev0+")
    shutil.rmtree(repository / ".git")
    assert describe_build(repository) == f"{RELEASE}.dev0"


@pytest.mark.parametrize("git_script", [None, "echo 'fatal: detected dubious ownership in repository' >&2; exit 128"])
def test_a_checkout_that_git_cannot_read_is_built_with_a_warning(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    git_script: str | None,
) -> None:
    commit(repository)
    programs = tmp_path / "bin"
    programs.mkdir()
    if git_script:
        (programs / "git").write_text(f"#!/bin/sh\n{git_script}\n", "utf-8")
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert describe_build(repository) == f"{RELEASE}.dev0"
    warned = capfd.readouterr().err
    assert f"so the version is {RELEASE}.dev0." in warned
    assert git_script is None or "dubious ownership" in warned


def test_pip_takes_the_wheel_of_a_later_commit_for_an_upgrade(tmp_path: Path) -> None:
    checkout = copy_product(tmp_path / "checkout")
    git(checkout, "init")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--upgrade"]
    for number in (1, 2):
        (checkout / "digest" / "installed.py").write_text(f"print({number})\n", "utf-8")
        commit(checkout)
        wheel = build_wheel(checkout, tmp_path / f"dist{number}")
        subprocess.run([*pip, "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
        assert (
            subprocess.check_output([str(python), "-m", "digest.installed"], text=True, cwd=tmp_path) == f"{number}\n"
        )
    version = subprocess.check_output(
        [str(python), "-c", "import digest; print(digest.__version__)"], text=True, cwd=tmp_path
    )
    assert version.strip() == describe_build(checkout)


def test_making_the_wheel_leaves_no_older_one_of_ours_beside_it(tmp_path: Path) -> None:
    """So that what is documented with `dist/*.whl` installs the new one."""
    checkout = copy_product(tmp_path / "checkout")
    shutil.copy(ROOT / "Makefile", checkout)
    git(checkout, "init")
    commit(checkout)
    (checkout / "dist").mkdir()
    for name in ("hls_digest-0.1.0.dev1+gabc-py3-none-any.whl", "notes.txt"):
        (checkout / "dist" / name).touch()
    made = ["make", "--no-print-directory", f"--old-file={sys.prefix}/.stamp", f"VENV={sys.prefix}", "wheel"]
    printed = subprocess.run(made, cwd=checkout, check=True, capture_output=True, text=True).stdout
    wheel = f"hls_digest-{describe_build(checkout)}-py3-none-any.whl"
    assert {file.name for file in (checkout / "dist").iterdir()} == {wheel, "notes.txt"}
    assert printed == f"dist/{wheel}\n"


def test_the_same_files_give_the_same_wheel_also_by_way_of_an_sdist(tmp_path: Path) -> None:
    checkout = copy_product(tmp_path / "checkout")
    git(checkout, "init")
    commit(checkout)
    first = build_wheel(checkout, tmp_path / "first")
    for file in checkout.rglob("*.py"):
        file.chmod(0o600)
        os.utime(file, (1, 1))
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", str(tmp_path), str(checkout)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (sdist,) = tmp_path.glob("*.tar.gz")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(unpacked), "--strip-components=1"], check=True)
    assert not (unpacked / ".git").exists()
    for again in (build_wheel(checkout, tmp_path / "second"), build_wheel(unpacked, tmp_path / "third")):
        assert (again.name, again.read_bytes()) == (first.name, first.read_bytes())


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a release of a copy of the product."""
    folder = tmp_path_factory.mktemp("release")
    checkout = copy_product(folder / "checkout")
    git(checkout, "init")
    commit(checkout)
    build_release(folder / "dist", checkout)
    return folder / "dist"


def test_the_wheel_carries_the_pinned_versions_with_their_hashes(release: Path) -> None:
    (wheel,) = release.glob("*.whl")
    constraints = release.parent / "constraints.txt"
    constraints.write_bytes(ZipFile(wheel).read("digest/constraints.txt"))
    assert constraints.read_bytes() == (ROOT / "requirements.txt").read_bytes()
    pins = {pin.name: pin for pin in RequirementsFile.from_file(str(constraints)).requirements}
    assert all(pin.hash_options and pin.is_pinned for pin in pins.values())
    for text in read_distribution(wheel).requires or ():
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[requirement.name.lower()].get_pinned_version)


def test_the_bill_of_materials_lists_the_pinned_versions(release: Path) -> None:
    (file,), (wheel,) = release.glob("*.cdx.json"), release.glob("*.whl")
    text = file.read_text("utf-8")
    bill = Bom.from_json(json.loads(text))  # type: ignore[attr-defined]  # made by a decorator
    pins = RequirementsFile.from_file(str(ROOT / "requirements.txt")).requirements
    listed = {(str(library.name), str(library.version)) for library in bill.components}
    assert listed == {(pin.name, pin.get_pinned_version) for pin in pins}
    assert all(library.hashes for library in bill.components)
    assert bill.metadata.component.version == read_distribution(wheel).version


def test_each_command_has_a_manual_page_that_man_reads_without_a_warning(release: Path) -> None:
    pages = {file.stem: file for file in (release / "man" / "man1").iterdir()}
    assert pages.keys() == {name_page(context) for context in list_contexts(digest, "digest")}
    assert "digest-subscribers-import" in pages
    options = [parameter for context in list_contexts(digest, "digest") for parameter in context.command.params]
    written = "".join(file.read_text("utf-8") for file in pages.values()).replace("\\-", "-")
    assert all(option.opts[0] in written for option in options if isinstance(option, click.Option))
    if groff := shutil.which("groff"):
        command = [groff, "-man", "-Tutf8", "-ww", "-Kutf8", *map(str, pages.values())]
        read = subprocess.run(command, check=True, capture_output=True, text=True)
        assert read.stderr == ""
        assert "digest subscribers import subscribed_members.csv --commit" in re.sub(r"\x1b\[\d*m", "", read.stdout)


def test_bash_completes_the_commands(release: Path) -> None:
    script = release / "completion" / "bash" / "digest"
    subprocess.run(["bash", "-n", str(script)], check=True)
    environ = {**os.environ, "COMP_WORDS": "digest subscribers im", "COMP_CWORD": "2"}
    environ["_DIGEST_COMPLETE"] = "bash_complete"
    program = [sys.executable, "-c", "import sys; sys.argv = ['digest']; from digest.cli import main; main()"]
    completed = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert completed.stdout.splitlines() == ["plain,import"], completed.stderr
    assert {file.name for file in (release / "completion").iterdir()} == {"bash", "zsh", "fish"}


def test_the_checksums_are_of_every_file(release: Path) -> None:
    lines = (release / CHECKSUMS).read_text("utf-8").splitlines()
    files = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert {line.partition("  ")[2] for line in lines} == files - {CHECKSUMS}
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS], cwd=release, check=False)
    assert checked.returncode == 0


def test_a_release_is_the_same_each_time(release: Path, tmp_path: Path) -> None:
    build_release(tmp_path / "dist", release.parent / "checkout")
    assert (tmp_path / "dist" / CHECKSUMS).read_bytes() == (release / CHECKSUMS).read_bytes()
