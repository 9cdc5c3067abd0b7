"""A settings file that cannot be read is refused with one sentence, however long or deep it is."""

from pathlib import Path

import pytest

from digest.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[publication]\n" + ".".join(["a"] * 100_000) + " = 1\n",
            "line 2 has 200,003 characters, and may have 10,000",
        ),
        ("deep = " + "[" * 9_000, "too many brackets"),
        ("[publication\n", "not readable as TOML: Expected ']'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert f"{file}: " in str(caught.value)
    assert reason in str(caught.value)
