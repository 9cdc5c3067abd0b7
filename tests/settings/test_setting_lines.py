"""The line reported for a setting is the one in the file, or the place for a new one."""

from pathlib import Path

import pytest

from digest.settings import load_settings
from digest.settings.setting_lines import advise_key_change, advise_variable_change, find_repeated_key

FILE = """[publication]
name = "A"

[sender]
postal_address = ""
name = '''
A
'''

[inbound]
user = "u"
"""


@pytest.mark.parametrize(
    ("table", "lines", "said"),
    [
        ("sender", ['postal_address = "X"'], 'In {}, change line 5 to: postal_address = "X"'),
        ("sender", ['reply_to = "X"'], 'Under [sender] in {}, add: reply_to = "X"'),
        (
            "sender",
            ['name = "X"'],
            'In {}, replace the setting that starts on line 6, including all lines of its value, with: name = "X"',
        ),
        ("limits", ["proxies = 1"], "At the end of {}, add [limits] and below it: proxies = 1"),
        (
            "inbound",
            ['host = "h"', 'user = "v"', "port = 1"],
            'In {0}, change line 11 to: user = "v". Under [inbound] in {0}, add: host = "h" and port = 1',
        ),
    ],
)
def test_where_a_key_belongs_is_said_by_its_line(tmp_path: Path, table: str, lines: list[str], said: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(FILE)
    assert advise_key_change(load_settings(file, {}), table, *lines) == said.format(file)


def test_where_a_variable_belongs_is_said_without_its_old_value(tmp_path: Path) -> None:
    file, environment = tmp_path / "digest.toml", tmp_path / "digest.env"
    file.write_text(FILE)
    settings = load_settings(file, {})
    assert advise_variable_change(settings, "DIGEST_BASE_URL=https://a.test") == (
        f"In {environment}, add: DIGEST_BASE_URL=https://a.test"
    )
    environment.write_text("# ours\nDIGEST_BASE_URL=http://secret.test\n")
    assert advise_variable_change(settings, "DIGEST_BASE_URL=https://a.test") == (
        f"In {environment}, change the line DIGEST_BASE_URL=… (line 2) to: DIGEST_BASE_URL=https://a.test"
    )


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a = 1\nb = 2\na = 3\n", 3, ("a", 1)),
        ("[x]\na = 1\n[y]\na = 2\n", 4, None),
        ("[x]\na = 1\n[y]\n[x]\n", 4, ("[x]", 1)),
        ("[[x]]\na = 1\n[[x]]\na = 2\n", 4, None),
        ("a = 1\n", 9, None),
    ],
)
def test_what_stands_twice_is_found_within_its_table(text: str, line: int, found: tuple[str, int] | None) -> None:
    assert find_repeated_key(text, line) == found
