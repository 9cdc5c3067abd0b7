"""benchmarks/soak.md: each long run writes its own section, and keeps the others."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESULT_PAGE = ROOT / "benchmarks" / "soak.md"
_HEAD = "# Long runs\n\nWritten by `make soak`: each run writes its own section.\n"


def write_section(heading: str, body: str, origin: str) -> None:
    """Write a section into the page, in place of the one that has its heading; `origin` says where it comes from."""
    page = RESULT_PAGE.read_text("utf-8") if RESULT_PAGE.exists() else _HEAD
    RESULT_PAGE.write_text(replace_section(page, heading, f"{body.strip()}\n\n{origin}"), "utf-8")


def replace_section(page: str, heading: str, body: str) -> str:
    """Return a page whose section of a heading has this body; a new section comes last."""
    section = f"## {heading}\n\n{body.strip()}\n\n"
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    replaced, count = pattern.subn(lambda _: section, page)
    page = replaced if count else f"{page.rstrip()}\n\n{section}"
    return f"{page.rstrip()}\n"


def describe_origin() -> str:
    """Say on what day, at which commit and on what kind of machine this runs."""
    environment = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    return f"Ran on {datetime.now(UTC):%Y-%m-%d} at commit {_commit_name()} ({environment})."


def _commit_name() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    changed = git("status", "--porcelain", "--", "digest", "subscribers", "tests", "templates")
    return git("rev-parse", "--short=12", "HEAD").strip() + (", with changes" if changed.strip() else "")
