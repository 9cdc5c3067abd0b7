"""docs/setup.md shows what `digest setup` prints for its answers, and the wheel is installed with the versions it was tested with."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.cli import digest
from tests.conftest import ROOT

GUIDE = ROOT / "docs" / "setup.md"


def test_the_guide_is_what_setup_prints(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(toml|text)\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL))
    (tmp_path / "answers.toml").write_text(blocks["toml"], "utf-8")
    folder = tmp_path / "srv"
    done = CliRunner().invoke(
        digest, ["setup", "--folder", str(folder), "--batch", "--answers", str(tmp_path / "answers.toml")]
    )
    assert done.exit_code == 0, done.output
    printed = done.output.partition("Next steps:\n\n")[2].replace(str(folder), "/srv/digest")
    assert unwrap(mask_key(printed)) == unwrap(mask_key(blocks["text"]))


@pytest.mark.parametrize("place", ["docs/setup.md", "docs/maintenance.md", "templates/setup/Containerfile"])
def test_wherever_the_wheel_is_installed_its_pinned_versions_are_installed_by_their_hashes(place: str) -> None:
    commands = re.findall(r"pip install .*", (ROOT / place).read_text("utf-8"))
    wheel, pins = commands
    assert "--no-deps" in wheel
    # Of several wheels, pip installs none.
    assert re.search(r" (/tmp/hls_digest-\*|hls_digest-VERSION-py3-none-any)\.whl", wheel)
    assert re.search(r"--no-deps --require-hashes -r \S+/site-packages/digest/constraints\.txt$", pins)


def mask_key(text: str) -> str:
    """Leave the key out, which is another one each time, and the containers' user, who is whoever owns the folder unless that is root."""
    return re.sub(r"chown -R \d+:\d+", "chown -R USER:GROUP", re.sub(r'p=[^"]*" "[^"]*"', 'p=…"', text))


def unwrap(text: str) -> str:
    """Undo the wrapping of lines, which depends on how long the folder's name is."""
    return " ".join(text.split())
