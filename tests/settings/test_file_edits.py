"""Changes of digest.toml by the program keep the operator's text, lose no one's change, and write nothing by halves."""

import threading
from pathlib import Path
from typing import Any

import pytest

from digest.settings import Settings, SettingsError, SourceSettings, file_edits, load_settings
from digest.settings.file_edits import SettingsConflictError
from digest.settings.table_values import SettingsValueError, fingerprint_values
from tests.conftest import ROOT

SHIPPED = (ROOT / "digest" / "shipped.toml").read_text("utf-8")
ONE, TWO = "https://one.example.org/feed", "https://two.example.org/feed"
SOURCES = f"""# first words
[[sources]]  # the one
url = "{ONE}"
name = "One"  # as they say
publisher = "One"

# Grants come from here

[[sources]]
url = "{TWO}"
name = "Two"
publisher = "Two"
[sources.topics]
Weather = "Disaster response"

# last words
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "digest.toml"


def write(file: Path, text: str) -> Settings:
    file.write_text(text, "utf-8", newline="")
    return load_settings(file, {})


def change(settings: Settings, table: str, **values: Any) -> Settings:
    fingerprint = fingerprint_values(getattr(settings.file, table))
    return file_edits.change_table(settings, table, values, fingerprint=fingerprint)


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    pairs = zip(before.splitlines(), after.splitlines(), strict=True)
    return [(was, becomes) for was, becomes in pairs if was != becomes]


def test_a_value_takes_the_place_of_the_commented_default_and_keeps_the_words_beside_it(file: Path) -> None:
    after = change(write(file, SHIPPED), "schedule", send="thu 06:00", deadline_hours=12, draft="thu 17:30")
    assert (after.file.schedule.send, after.file.schedule.deadline_hours) == ("thu 06:00", 12)
    assert changed_lines(SHIPPED, file.read_text("utf-8")) == [
        (
            '# send = "fri 06:00"                  # Send time. Only approved editions are sent.',
            'send = "thu 06:00"                  # Send time. Only approved editions are sent.',
        ),
        (
            "# deadline_hours = 10                 # Approve by. Hours before the usual send time.",
            "deadline_hours = 12.0                 # Approve by. Hours before the usual send time.",
        ),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[sender]\nname = "Desk"\n'),
        ("[sender]\n# mine\n[limits]\n", '[sender]\nname = "Desk"\n# mine\n[limits]\n'),
        ("[sender]", '[sender]\nname = "Desk"\n'),
        ('[sender]\r\nname   = "Old" # why\r\n[limits]\r\n', '[sender]\r\nname   = "Desk" # why\r\n[limits]\r\n'),
        ('sender = { name = "Old", list_id = "x" }\n', 'sender = { name = "Desk", list_id = "x" }\n'),
        ('sender.name = "Old" # dotted\n', 'sender.name = "Desk" # dotted\n'),
    ],
)
def test_a_value_is_written_in_whatever_form_the_table_has(file: Path, before: str, after: str) -> None:
    assert change(write(file, before), "sender", name="Desk").file.sender.name == "Desk"
    assert file.read_bytes().decode() == after


def test_lists_and_tables_are_written_and_keep_their_form(file: Path) -> None:
    settings = write(file, '[limits]\nwarm_up = [500]\n[limits.domains_per_hour]\n"gmail.com" = 60 # as agreed\n')
    change(settings, "limits", warm_up=[500, 1000], domains_per_hour={"gmail.com": 60, "aol.com": 5})
    assert file.read_text() == (
        '[limits]\nwarm_up = [500, 1000]\n[limits.domains_per_hour]\n"gmail.com" = 60 # as agreed\n"aol.com" = 5\n'
    )


def test_what_stands_there_already_is_not_written_again(file: Path) -> None:
    settings = write(file, SHIPPED)
    stamp = file.stat().st_mtime_ns
    assert change(settings, "sender", name="HLS.Today", postal_address="") == settings
    assert (file.read_text("utf-8"), file.stat().st_mtime_ns) == (SHIPPED, stamp)


def test_a_wrong_value_is_named_by_its_field_and_nothing_is_written(file: Path) -> None:
    settings = write(file, SHIPPED)
    with pytest.raises(SettingsValueError) as raised:
        change(settings, "schedule", send="friday", deadline_hours="soon", reminder_hours=[11, 900])
    assert raised.value.problems == {
        "send": "'friday' isn't a schedule; use 'daily 06:00', 'fri 06:00', 'mon,thu 17:30', or 'every 5m'",
        "deadline_hours": "must be a number",
        "reminder_hours": "2: must be 168 or less",
    }
    assert file.read_text("utf-8") == SHIPPED


def test_a_change_of_another_is_not_lost_and_one_of_another_table_does_not_matter(file: Path) -> None:
    settings = write(file, SHIPPED)
    change(settings, "limits", send_per_hour=100)
    change(settings, "schedule", draft="wed 10:00")
    with pytest.raises(SettingsConflictError, match="Someone else has made changes"):
        change(settings, "schedule", send="thu 06:00")
    now = load_settings(file, {}).file
    assert (now.schedule.draft, now.schedule.send, now.limits.send_per_hour) == ("wed 10:00", "fri 06:00", 100)


def test_of_two_who_change_the_same_at_once_one_is_refused(file: Path) -> None:
    settings, outcomes = write(file, SHIPPED), []

    def attempt(name: str) -> None:
        try:
            change(settings, "sender", name=name)
            outcomes.append(name)
        except SettingsConflictError:
            outcomes.append("refused")

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("Ann", "Bo", "Cy", "Di")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("refused") == 3
    assert load_settings(file, {}).file.sender.name in outcomes


def test_the_file_keeps_its_mode_and_its_link_and_nothing_is_left_beside_it(file: Path, tmp_path: Path) -> None:
    settings = write(file, SHIPPED)
    file.chmod(0o640)
    link = tmp_path / "etc" / "digest.toml"
    link.parent.mkdir()
    link.symlink_to(file)
    change(settings.model_copy(update={"origin": link}), "sender", name="Desk")
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digest.toml", "etc"]


@pytest.mark.parametrize("broken", ["[sender\n", "[sender]\nnamen = 1\n"])
def test_a_file_that_is_wrong_already_is_left_as_it_is(file: Path, broken: str) -> None:
    settings = write(file, "")
    file.write_text(broken)
    with pytest.raises(SettingsError):
        change(settings, "sender", name="Desk")
    assert file.read_text() == broken


def test_sections_are_ordered_changed_added_and_left_out_and_keep_their_comments(file: Path) -> None:
    text = (
        '[[sections]]\nkey = "topics"\ntitle = "Topics" # all\nkind = "topics"\n\n'
        '[[sections]]\n# the best\nkey = "featured"\ntitle = "Featured"\nkind = "featured"\nmost = 6\n\n[limits]\n'
    )
    settings = write(file, text)
    rows = [section.model_dump() for section in settings.file.sections]
    rows = [rows[1] | {"most": 4}, {"key": "ports", "title": "Ports", "kind": "stories", "topics": ["Ports"]}]
    after = file_edits.replace_sections(settings, rows, fingerprint=fingerprint_values(settings.file.sections))
    assert [section.key for section in after.file.sections] == ["featured", "ports"]
    written = file.read_text()
    assert '[[sections]]\n# the best\nkey = "featured"\ntitle = "Featured"\nkind = "featured"\nmost = 4\n' in written
    assert "[limits]" in written


def test_sections_of_a_file_that_names_none_and_wrong_ones_by_place_and_field(file: Path) -> None:
    settings = write(file, SHIPPED)
    rows = [section.model_dump() for section in settings.file.sections]
    fingerprint = fingerprint_values(settings.file.sections)
    with pytest.raises(SettingsValueError) as raised:
        file_edits.replace_sections(
            settings, [*rows, {"key": "X", "title": "", "kind": "odd"}], fingerprint=fingerprint
        )
    assert set(raised.value.problems) == {"6.key", "6.title", "6.kind"}
    with pytest.raises(SettingsValueError, match="section key used more than once: featured"):
        file_edits.replace_sections(settings, [*rows, rows[0]], fingerprint=fingerprint)
    after = file_edits.replace_sections(settings, rows[::-1], fingerprint=fingerprint)
    assert [section.key for section in after.file.sections] == [row["key"] for row in rows[::-1]]
    assert file.read_text("utf-8").startswith(SHIPPED)


def test_a_source_is_added_changed_and_removed_and_the_words_around_it_stay(file: Path) -> None:
    settings = write(file, SOURCES)
    three = SourceSettings(url="https://three.example.org/", name='"Three"', publisher="3\x7f", images="licensed")
    settings = file_edits.append_sources(settings, [three])
    assert settings.file.sources[2] == three
    two = settings.file.sources[1]
    values = {"weight": 1.5, "topics": {"Weather": "Disaster response", "Quakes": "Disaster response"}}
    settings = file_edits.change_source_in_file(settings, TWO, values, fingerprint=fingerprint_values(two))
    assert (settings.file.sources[1].weight, len(settings.file.sources[1].topics)) == (1.5, 2)
    with pytest.raises(SettingsConflictError):
        file_edits.change_source_in_file(settings, TWO, {"weight": 2}, fingerprint=fingerprint_values(two))
    settings = file_edits.remove_source_from_file(settings, TWO)
    settings = file_edits.remove_source_from_file(settings, three.url)
    assert file.read_text() == SOURCES[: SOURCES.index("[[sources]]\n")] + "# last words\n\n"
    settings = file_edits.remove_source_from_file(settings, ONE)
    assert file.read_text() == "# first words\n# Grants come from here\n\n# last words\n\n"
    with pytest.raises(SettingsConflictError, match="no longer in the settings"):
        file_edits.remove_source_from_file(settings, ONE)


def test_sources_in_brackets_are_changed_too(file: Path) -> None:
    settings = write(file, f'sources = [\n  {{ url = "{ONE}", name = "One", publisher = "One" }}, # mine\n]\n')
    settings = file_edits.append_sources(settings, [SourceSettings(url=TWO, name="Two", publisher="Two")])
    settings = file_edits.change_source_in_file(
        settings, TWO, {"weight": 0.5}, fingerprint=fingerprint_values(settings.file.sources[1])
    )
    settings = file_edits.remove_source_from_file(settings, ONE)
    assert [(source.url, source.weight) for source in settings.file.sources] == [(TWO, 0.5)]


def test_every_shipped_source_can_be_removed_by_itself(file: Path) -> None:
    settings = write(file, SHIPPED)
    for source in settings.file.sources:
        settings = file_edits.remove_source_from_file(settings, source.url)
    comments = [line for line in SHIPPED.splitlines() if line.startswith("#")]
    assert [line for line in file.read_text("utf-8").splitlines() if line.startswith("#")] == comments
