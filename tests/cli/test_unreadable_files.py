"""Files that root can open but the folder's owner can't, after a command run as root continues as the owner."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from digest.cli import context
from digest.cli.context import drop_root_privileges
from digest.cli.lazy_group import ErrorReportingGroup
from subscribers.errors import ApplicationError

DENIED = PermissionError(13, "Permission denied", "/root/list.csv")


def fail_with_traceback() -> None:
    raise DENIED


def fail_with_message() -> None:
    try:
        raise DENIED
    except OSError as exc:
        raise ApplicationError("Couldn't read the list.") from exc


def make_group(fail: object) -> ErrorReportingGroup:
    def run() -> None:
        drop_root_privileges(Path("/srv/digest"))
        assert callable(fail)
        fail()

    return ErrorReportingGroup("group", commands={"import": click.Command("import", callback=run)})


@pytest.mark.parametrize("fail", [fail_with_traceback, fail_with_message])
def test_the_message_names_the_user_and_the_file(monkeypatch: pytest.MonkeyPatch, fail: object) -> None:
    monkeypatch.setattr(context, "continue_as_owner", lambda _: "desk")
    refused = CliRunner().invoke(make_group(fail), ["import"])
    _, error = refused.stderr.splitlines()
    assert refused.exit_code == 2
    assert error == (
        "Error: This command runs as desk, who can't open /root/list.csv. Move it to a folder that desk can read, "
        "or pipe it in if the command accepts '-'."
    )


def test_without_another_user_the_error_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "continue_as_owner", lambda _: None)
    assert CliRunner().invoke(make_group(fail_with_traceback), ["import"]).exception is DENIED
    assert CliRunner().invoke(make_group(fail_with_message), ["import"]).stderr == "Error: Couldn't read the list.\n"
