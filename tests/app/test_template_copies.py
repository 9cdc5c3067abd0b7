"""Copies of built-in templates to change, and the documented names that templates can use."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.app.editions.sample_emails import (
    STAFF_MAILS,
    SUBSCRIBER_MAILS,
    compose_sample_email,
    find_rendering_mistakes,
    find_sample_email,
    make_sample_notice_facts,
)
from digest.cli import digest as digest_command
from digest.edition.rendering.fragments import PublicationContext
from digest.edition.rendering.template_filters import template_filters
from digest.settings import Settings
from digest.templating import find_template_folder
from subscribers.subscriber_language import ENGLISH
from tests.conftest import ROOT

CONTRACT = (ROOT / "docs" / "templates.md").read_text("utf-8")
OTHER_EMAILS = CONTRACT.partition("\n## Other emails\n")[2].partition("\n## ")[0]
SETTINGS = Settings.model_validate({"base_url": "https://news.example.org"})
NOTICES = {mail.key for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS)} - {"edition"}


@pytest.fixture
def environment(initialized_home: Path, tmp_path: Path) -> dict[str, str]:
    return {"DIGEST_HOME": str(initialized_home), "DIGEST_TEMPLATES": str(tmp_path / "own")}


def run(environment: dict[str, str], *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(digest_command, words, env=environment)
    return result.exit_code, result.output


def test_a_template_or_a_folder_is_copied_once_and_listed_as_replaced(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own"
    assert run(environment, "templates", "copy", "mail/edition/foot.html") == (
        0,
        f"{own}/mail/edition/foot.html: copied\n",
    )
    shipped = find_template_folder() / "mail" / "edition" / "foot.html"
    assert (own / "mail" / "edition" / "foot.html").read_bytes() == shipped.read_bytes()
    assert run(environment, "templates", "copy", "mail/welcome")[1].count(": copied\n") == 3
    code, said = run(environment, "templates", "copy", "mail/welcome")
    assert (code, said.count("\n")) == (2, 1)
    assert "body.html already exists. To copy the template again, move or rename the existing file first." in said
    listed = run(environment, "templates", "list")[1].splitlines()
    assert "* mail/edition/foot.html" in listed
    assert "  mail/edition/body.html" in listed


def test_an_own_masthead_that_only_has_the_name_breaks_no_email(tmp_path: Path) -> None:
    own = tmp_path / "mail" / "masthead.html"
    own.parent.mkdir()
    own.write_text("{% macro publication_name() %}{{ frame.name }}{% endmacro %}\n", "utf-8")
    assert list(find_rendering_mistakes(SETTINGS.model_copy(update={"templates": tmp_path}))) == []


@pytest.mark.parametrize("name", ["mail/edition/fot.html", "../pyproject.toml", ".", "/etc/passwd"])
def test_what_is_no_shipped_template_is_refused(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(environment, "templates", "copy", name)
    assert code == 2
    assert f"There's no template {name}. To list the templates, run 'digest templates list'." in said
    assert not (tmp_path / "own").exists()


def test_without_a_folder_for_them_it_says_which_setting_names_one(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(environment | {"DIGEST_TEMPLATES": ""}, "templates", "copy", "mail/welcome")
    assert (code, "no folder for custom templates" in said) == (2, True)


def test_the_gallery_has_every_mail_that_there_are_templates_for() -> None:
    folders = {folder.name for folder in (find_template_folder() / "mail").iterdir() if folder.is_dir()}
    assert folders - {"notice"} == NOTICES | {"edition"}


@pytest.mark.parametrize("kind", sorted(NOTICES | {"edition"}))
def test_every_mail_of_the_gallery_is_whole_and_has_no_facts_that_its_templates_do_not_use(kind: str) -> None:
    mail = compose_sample_email(SETTINGS, kind)
    assert mail.subject.strip()
    assert mail.html
    for part in (mail.subject, mail.text, mail.html):
        assert not re.search(r"~fact|\{\{|\bNone\b|\[\[", part)
    assert find_sample_email(kind) is not None


@pytest.mark.parametrize("kind", sorted(NOTICES))
def test_the_contract_names_the_facts_of_every_notice(kind: str) -> None:
    folder = find_template_folder() / "mail" / kind
    used = set(re.findall(r"facts\.([a-z_]+)", "".join(file.read_text("utf-8") for file in folder.iterdir())))
    (row,) = re.findall(rf"(?m)^\| (?:`\w+`, )*`{kind}`(?:, `\w+`)* \| (.*)$", OTHER_EMAILS)
    named = set(re.findall(r"`([a-z_]+)`", row))
    assert used <= named
    assert named <= make_sample_notice_facts(SETTINGS)[kind].keys()


def test_the_contract_names_every_field_of_the_frame_and_every_filter() -> None:
    frame = {field.name for field in fields(PublicationContext)}
    frame |= {name for name, value in vars(PublicationContext).items() if isinstance(value, property)}
    assert set(re.findall(r"`frame\.([a-z_]+)", CONTRACT)) == frame
    filters = CONTRACT[CONTRACT.index("## Filters") :]
    named = re.findall(r"(?m)^\| `([a-z_]+)", filters)
    assert sorted(named) == sorted(template_filters(ENGLISH).keys() | {"tied", "unbroken"}), "each once"
