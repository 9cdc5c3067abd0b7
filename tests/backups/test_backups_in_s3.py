"""The docs' recipes for backups in S3-compatible storage work with a real S3 server, and their copies can be restored."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from digest.cli import digest
from tests.conftest import ROOT, WAIT_TIMEOUT, reserve_port
from tests.deliver.kill_harness import wait_until

pytestmark = pytest.mark.s3
PASSPHRASE = "a rather long passphrase"
RECIPE_LINE = re.compile(r"(?m)^(?:    )?((?:rclone|restic|export (?:AWS|RESTIC)).*)$")
KEY_ID = KEY = "test"


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto's S3 server on loopback, and give its URL."""
    folder = tmp_path_factory.mktemp("s3")
    with reserve_port() as port, (folder / "log").open("wb") as log:
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

        def answers() -> bool:
            with suppress(httpx.TransportError):
                return httpx.get(f"{url}/moto-api/").is_success
            return False

        try:
            wait_until(answers, lambda: server.poll() is None)
            yield url
        finally:
            server.terminate()
            server.wait(WAIT_TIMEOUT)


def read_recipe() -> list[str]:
    """Return the commands of rclone and restic in the docs, as they're printed and in their order."""
    documents = sorted((ROOT / "docs").glob("*.md"))
    return [line for document in documents for line in RECIPE_LINE.findall(document.read_text("utf-8"))]


@pytest.fixture
def backup_file(initialized_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an encrypted backup in the folder of scheduled backups, and give its file."""
    folder = tmp_path / "nightly"
    monkeypatch.setenv("DIGEST_BACKUP_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("DIGEST_BACKUP__FOLDER", str(folder))
    monkeypatch.setenv("DIGEST_BACKUP__COPIED", "true")
    (initialized_home / "left.log").touch(mode=0o600)
    made = CliRunner().invoke(digest, ["backup"])
    assert made.exit_code == 0, made.output
    (file,) = folder.glob("*.zip.age")
    return file


@pytest.mark.parametrize("program", ["rclone", "restic"])
def test_a_backup_comes_back_as_the_docs_say(s3_url: str, backup_file: Path, tmp_path: Path, program: str) -> None:
    restored, passphrase_file = tmp_path / "restored", tmp_path / "restic-passphrase"
    passphrase_file.write_text(PASSPHRASE)
    places = {
        "/tmp/restored/backups/digest": f"{restored}{backup_file.parent}",
        "/tmp/restored": str(restored),
        "/backups/digest": str(backup_file.parent),
        "/etc/digest/restic-password": str(passphrase_file),
        "https://s3.example.com/digest-backups": f"{s3_url}/{program}-backups",
        "…": KEY,
    }
    shown = re.compile("|".join(map(re.escape, places)))
    commands = [
        shown.sub(lambda found: places[found[0]], line)
        for line in read_recipe()
        if line.startswith((program, "export"))
    ]
    assert len(commands) >= 4
    configuration = tmp_path / "rclone.conf"
    remote = {"type": "s3", "provider": "Other", "endpoint": s3_url, "access_key_id": KEY_ID, "secret_access_key": KEY}
    configuration.write_text("\n".join(["[offsite]", *(f"{name} = {value}" for name, value in remote.items())]))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= {"RCLONE_CONFIG": str(configuration), "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands)], env=environ, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    copied = restored / backup_file.relative_to("/")
    assert copied.read_bytes() == backup_file.read_bytes()
    assert copied.with_name("left.log").exists()
    checked = CliRunner().invoke(digest, ["restore", str(copied), "--check"])
    assert checked.exit_code == 0, checked.output
