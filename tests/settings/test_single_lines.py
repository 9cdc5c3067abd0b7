"""Settings used in headers, calendars, and links: a single line, or a web URL."""

from pathlib import Path

import pytest

from digest.settings import SettingsError, load_settings


def test_a_name_over_several_lines_stands_on_one(tmp_path: Path) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(
        '[publication]\nname = "The week\\r\\nBcc: x@y.example"\ntagline = """\nOne\n  read\n"""\n'
        '[sender]\nname = "The\\u2028week"\n',
        "utf-8",
    )
    settings = load_settings(file, {}).file
    assert settings.publication.name == "The week Bcc: x@y.example"
    assert settings.publication.tagline == "One read"
    assert settings.sender.name == "The week"


@pytest.mark.parametrize("site", ["javascript:alert(1)", "//hls.example", "https://hls.example/\\r\\nX: y", ""])
def test_the_publications_site_is_an_address_of_the_web(tmp_path: Path, site: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(f'[publication]\nsite = "{site}"\n', "utf-8")
    with pytest.raises(SettingsError, match=r"publication\.site"):
        load_settings(file, {})


@pytest.mark.parametrize("key", ["address", "reply_to"])
@pytest.mark.parametrize(
    "wrong",
    [
        *("a><img src=x>@b.example", "a@b.example\\r\\nBcc: x@y.example", "The Desk <a@b.example>"),
        *("a@b.example,c@b.example", '\\"a@b.example', "a@b.example(desk)", "\\u00e9@b.example"),
    ],
)
def test_an_address_of_the_sender_holds_what_a_header_can(tmp_path: Path, key: str, wrong: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(f'[sender]\n{key} = "{wrong}"\n', "utf-8")
    with pytest.raises(SettingsError, match=rf"sender\.{key}.*isn't an email address"):
        load_settings(file, {})


@pytest.mark.parametrize("wrong", ["The weekly <weekly.b.example>", "a@b.example", "weekly b.example", "b\\r\\nX: y"])
def test_a_list_id_holds_what_a_header_can(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(f'[sender]\nlist_id = "{wrong}"\n', "utf-8")
    with pytest.raises(SettingsError, match=r"sender\.list_id.*isn't a List-Id"):
        load_settings(file, {})
