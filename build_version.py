"""The version of a build. Hatchling asks for it (`pyproject.toml`), so that wheels of different commits have different versions.

Until `CHANGELOG.md` has a section for the release, builds are development releases that precede it (PEP 440), such as
`0.1.0.dev1836+g7b4ad5354abc`. Their number counts commits, so pip takes the wheel of a later commit for an upgrade.
"""

import re
import subprocess
import sys
from pathlib import Path

RELEASE = "0.1.0"  # the next release, or the last one if CHANGELOG.md has no unreleased changes
LAST_RELEASE = ""  # its commit, from which `.ci/run` tries to upgrade; empty until there is one
UNRELEASED = "Unreleased"


def describe_build(root: Path = Path(__file__).parent) -> str:
    """Return the version of a checkout's commit.

    Files without a Git folder are `.dev0`, except for those of an sdist, which keeps its version in PKG-INFO. So is a shallow
    clone, because its commits can't be counted, and a checkout that Git can't read, with a warning on standard error.
    """
    unknown = f"{RELEASE}.dev0"
    if not (root / ".git").exists():
        return unknown
    try:
        return _describe_commit(root)
    except (OSError, subprocess.CalledProcessError) as exc:  # not installed, or the checkout is another user's
        sys.stderr.write(f"warning: Git can't read {root}, so the version is {unknown}. {exc}\n")
        return unknown


def _describe_commit(root: Path) -> str:
    commit = ask_git(root, "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=.dirty")
    is_shallow = ask_git(root, "rev-parse", "--is-shallow-repository") == "true"
    count = "0" if is_shallow else ask_git(root, "rev-list", "--count", "HEAD")
    is_released = list_changelog_sections(root)[0] != UNRELEASED
    return f"{RELEASE}+{count}.g{commit}" if is_released else f"{RELEASE}.dev{count}+g{commit}"


def ask_git(root: Path, *arguments: str) -> str:
    """Run a Git command in a checkout, and return its output without the line break at its end.

    Raises:
        subprocess.CalledProcessError: it failed.
        OSError: Git isn't installed.
    """
    command = ["git", "-C", str(root), *arguments]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return finished.stdout.strip()


def list_changelog_sections(root: Path) -> list[str]:
    """List the titles of the changelog's sections without their dates, newest first."""
    return re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
