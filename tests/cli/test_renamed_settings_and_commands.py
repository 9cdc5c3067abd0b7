"""Old names of settings, commands, and options are refused with a sentence that says the new one."""

import click
import pytest
from click.testing import CliRunner

from digest.cli import digest
from digest.renamed_settings_and_commands import RENAMED_COMMANDS, RENAMED_SETTINGS
from digest.settings import Settings
from digest.settings.loader import SettingsError, parse_settings_text
from digest.settings.misspelled_names import find_table


@pytest.mark.parametrize(("old", "new"), RENAMED_COMMANDS.items())
def test_an_old_command_or_option_names_the_new_one_and_does_nothing(old: str, new: str) -> None:
    result = CliRunner().invoke(digest, [*old.split()[1:], "x"])
    assert result.exit_code == 2
    assert result.output.endswith(f"Error: '{old}' is now '{new}'.\n")


@pytest.mark.parametrize("new", RENAMED_COMMANDS.values())
def test_the_new_name_of_a_command_or_option_exists(new: str) -> None:
    command: click.Command = digest
    *words, last = new.split()[1:]
    for word in words if last.startswith("--") else (*words, last):
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, new
        command = found
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert not last.startswith("--") or last in options


@pytest.mark.parametrize(("old", "new"), RENAMED_SETTINGS.items())
def test_an_old_setting_names_the_new_one(old: str, new: str) -> None:
    table, _, key = old.rpartition(".")
    text = f"[{table}]\n{key} = 1\n" if table else f"[{key}]\n"
    with pytest.raises(SettingsError, match="not a setting") as refused:
        parse_settings_text(Settings(), text)
    assert f"{old}: not a setting; it's now {new} (line " in str(refused.value)
    model = find_table([table] if table else [new.strip("[]")])
    assert model is not None
    assert not table or new in model.model_fields
