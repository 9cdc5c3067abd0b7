"""docs/setup.md shows what `digest setup` prints, for the answers that stand in it."""

import re
from pathlib import Path

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


def mask_key(text: str) -> str:
    """Leave the key out, which is another one each time, and the containers' user, who is whoever owns the folder unless that is root."""
    return re.sub(r"chown -R \d+:\d+", "chown -R USER:GROUP", re.sub(r'p=[^"]*" "[^"]*"', 'p=…"', text))


def unwrap(text: str) -> str:
    """Undo the wrapping of lines, which depends on how long the folder's name is."""
    return " ".join(text.split())
