"""A mistake in a custom template is reported in one sentence with the file and line."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from digest.app.doctor.examination import run_local_checks
from digest.cli import digest as digest_command
from digest.edition.content.edition_content import EditionContent
from digest.edition.preflight.message_rules import check_custom_templates
from digest.edition.preflight.rule_registry import PreflightInput
from digest.edition.rendering.fragments import (
    build_publication_context,
    create_mail_environment,
    render_edition,
    render_subject,
)
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import Database
from digest.template_markup import find_markup_mistakes, list_markup_mistakes
from digest.templating import (
    TemplateMistakeError,
    create_jinja_environment,
    find_template_folder,
    find_template_mistakes,
)
from digest.web.app import create_app
from subscribers.crypto.keys import KeyRing

MISTAKES = {
    "an unknown name": ("Hello\n{{ edtion }}\n", "line 2: 'edtion' is undefined"),
    "an unknown field": ("{{ content.sujbect }}\n", "line 1: .* has no attribute 'sujbect'"),
    "an open block": ("{% if content.subject %}\nHello\n", "line 2: Unexpected end of template"),
    "an unknown filter": ("\n\n{{ content.subject | shout }}\n", "line 3: No filter named 'shout'"),
    "an unknown tag": ("{% fi %}", "line 1: Encountered unknown tag 'fi'"),
    "a missing part": ('Hello\n{% include "mail/foot.txt" %}\n', "line 2: there is no template mail/foot.txt"),
}


@pytest.fixture(params=MISTAKES)
def mistake(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Settings, str]:
    """Give settings with an own subject template that holds a mistake, and what is to be said of it."""
    template, says = MISTAKES[request.param]
    folder = tmp_path / "own" / "mail" / "edition"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text(template)
    return Settings(home=tmp_path, templates=tmp_path / "own"), says


def test_it_names_file_line_and_remedy(mistake: tuple[Settings, str], full_content: EditionContent) -> None:
    settings, says = mistake
    assert settings.templates is not None
    file = settings.templates / "mail" / "edition" / "subject.txt"
    with pytest.raises(TemplateMistakeError, match=f"^{file}, {says}.* remove it from DIGEST_TEMPLATES"):
        render_subject(full_content, build_publication_context(settings), create_mail_environment(settings))


def test_a_command_ends_with_the_sentence(
    mistake: tuple[Settings, str], one_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_database.close()
    settings, _ = mistake
    KeyRing.create(settings.key_file)
    monkeypatch.chdir(tmp_path)
    environment = {"DIGEST_HOME": str(tmp_path), "DIGEST_TEMPLATES": str(settings.templates)}
    refused = CliRunner().invoke(digest_command, ["draft"], env=environment)
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1), refused.output
    assert f"{settings.templates}/mail/edition/subject.txt, line " in refused.output


def test_the_doctor_finds_what_is_no_template(one_database: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, templates=tmp_path / "own")
    KeyRing.create(settings.key_file)
    pages = tmp_path / "own" / "web"
    pages.mkdir(parents=True)
    (pages / "error.html").write_text("{% if %}")
    (pages / "privacy.html").write_bytes(b"\xff\xfe")
    (pages / "signup.html").write_text("<p>{{ anything | long_day }}</p>")
    errors = [f.message for f in run_local_checks(Installation(settings, one_database)) if f.level == "error"]
    assert [f"{name}.html" for name in ("error", "privacy", "signup") if any(f"{name}.html" in e for e in errors)] == [
        "error.html",
        "privacy.html",
    ]


def test_every_broken_template_is_named_also_one_that_fails_only_when_it_is_shown(
    one_database: Database, tmp_path: Path
) -> None:
    settings, own = Settings(home=tmp_path, templates=tmp_path / "own"), tmp_path / "own"
    KeyRing.create(settings.key_file)
    broken = {
        "mail/edition/subject.txt": "{{ content.sujbect }}",
        "mail/welcome/body.txt": "Hello\n{{ fatcs.name }}",
        "web/error.html": "{% if %}",
        "web/contact.html": "{{ site.nmae }}",
        "web/home.html": "<p>{{ site.name }}</p>\n<p>{{ zork.bork }}</p>",
    }
    for name, text in broken.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    findings = run_local_checks(Installation(settings, one_database))
    errors = sorted(f.message for f in findings if f.level == "error" and str(own) in f.message)
    assert [error.partition(". Correct the template")[0] for error in errors] == [
        f"{own}/mail/edition/subject.txt, line 1: 'digest.edition.content.edition_content.EditionContent object' has no attribute 'sujbect'",
        f"{own}/mail/welcome/body.txt, line 2: 'fatcs' is undefined",
        f"{own}/web/contact.html, line 1: 'site' has no attribute 'nmae'",
        f"{own}/web/error.html, line 1: Expected an expression, got 'end of statement block'",
        f"{own}/web/home.html, line 2: 'zork' is undefined",
    ]


def test_no_shipped_template_is_called_broken_nor_one_that_sets_or_asks_for_its_own_names(tmp_path: Path) -> None:
    shutil.copytree(find_template_folder(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "web" / "privacy.html").write_text(
        '{% extends "web/reader.html" %}{% set mine = 1 %}{% macro bold(what) %}<b>{{ what }}</b>{% endmacro %}'
        '{% from "web/signup_form.html" import signup_form as form with context %}'
        "{% block main %}{{ bold(mine) }}{{ form }}{% if theirs is defined %}{{ theirs }}{% endif %}{{ url_for('x') }}"
        "{% for one in site.sections %}{{ loop.index }}{{ one }}{% endfor %}{{ other|default('') }}{% endblock %}"
    )
    assert find_template_mistakes(tmp_path) == []
    assert list_markup_mistakes(tmp_path) == []


UNCLOSED = {
    "an unclosed tag": ("<p>\n<b>{{ name }}</p>", [(2, "<b> isn't closed before </p>")]),
    "a stray end tag": ("<p>\n</p>\n</td>", [(3, "</td> has no start tag")]),
    "an open end": ("<div>\n<p>Hello</p>", [(1, "<div> isn't closed")]),
    "one branch": ("{% if a %}\n<b>{% else %}<i></i>{% endif %}", [(2, "<b> isn't closed")]),
    "a loop": ("<ul>{% for a in b %}\n<li><a href='{{ a }}'>{{ a }}</li>{% endfor %}</ul>", [(2, "<a> isn't closed before </li>")]),
    "a block": ("{% block main %}\n\n</span>{% endblock %}", [(3, "</span> has no start tag")]),
    "the same condition": ("{% if a %}<b>{% endif %}x{% if a %}</b>{% endif %}", []),
    "its contrary": ("{% if a %}<b>{% else %}<i>{% endif %}x{% if not a %}</i>{% else %}</b>{% endif %}", []),
    "attributes": ("<a{% if a %} title='>'{% endif %} href=\"{{ a }}\">x</a><br><img alt=''><path d='M0'/>", []),
    "comments and scripts": ("<!--[if mso]><table><![endif]--><script>if (a<b) {}</script><style>a>b{}</style>", []),
}  # fmt: skip


@pytest.mark.parametrize("case", UNCLOSED)
def test_a_tag_without_its_counterpart_is_found_with_its_line(case: str) -> None:
    template, expected = UNCLOSED[case]
    parsed = create_jinja_environment().parse(template)
    assert [(found.line, found.mistake) for found in find_markup_mistakes(parsed)] == expected


def test_the_doctor_and_preflight_name_an_unclosed_tag_and_a_stray_one(
    one_database: Database, tmp_path: Path, full_content: EditionContent
) -> None:
    settings = Settings(home=tmp_path, templates=tmp_path / "own")
    KeyRing.create(settings.key_file)
    own = tmp_path / "own" / "mail" / "edition" / "parts.html"
    own.parent.mkdir(parents=True)
    shipped = (find_template_folder() / "mail" / "edition" / "parts.html").read_text("utf-8")
    own.write_text(shipped.replace("</td></tr></table>", "<b></td></tr></table>", 1) + "</td>\n", "utf-8")
    line = own.read_text("utf-8").partition("<b></td>")[0].count("\n") + 1
    found = [f for f in run_local_checks(Installation(settings, one_database)) if str(own) in f.message]
    assert [(f.level, f.message.partition(". ")[0]) for f in found] == [
        ("warning", f"{own}, line {line}: <b> isn't closed before </td>"),
        ("warning", f"{own}, line {shipped.count(chr(10)) + 1}: </td> has no start tag"),
    ]
    mistakes = tuple(list_markup_mistakes(tmp_path / "own"))
    examined = PreflightInput(b"", {}, full_content, settings.file, "", markup_mistakes=mistakes)
    assert [finding.level for finding in check_custom_templates(examined)] == ["warning", "warning"]


def test_the_doctor_makes_every_mail_with_them(one_database: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, templates=tmp_path / "own")
    KeyRing.create(settings.key_file)
    folder = tmp_path / "own" / "mail" / "welcome"
    folder.mkdir(parents=True)
    (folder / "body.txt").write_text("Hello\n{{ facts.next_nmber }}\n")
    (error,) = (f.message for f in run_local_checks(Installation(settings, one_database)) if "body.txt" in f.message)
    assert error.startswith(f"{folder}/body.txt, line 2: ")
    (folder / "body.txt").unlink()
    said = [f.message for f in run_local_checks(Installation(settings, one_database))]
    assert f"custom templates in {tmp_path / 'own'} work for every email" in said


@pytest.mark.parametrize("file", ["known/body.txt", "known/body.html", "edition/body.txt"])
def test_the_doctor_names_a_template_that_gives_a_token_to_another_site(
    one_database: Database, tmp_path: Path, file: str
) -> None:
    settings = Settings(home=tmp_path, templates=tmp_path / "own")
    KeyRing.create(settings.key_file)
    own = tmp_path / "own" / "mail" / file
    own.parent.mkdir(parents=True)
    shipped = (find_template_folder() / "mail" / file).read_text("utf-8")
    leak = "https://elsewhere.example/?x={{ leave }}"
    own.write_text(shipped.replace("{{ leave }}", leak), "utf-8")
    assert leak in own.read_text("utf-8")
    found = [f.message for f in run_local_checks(Installation(settings, one_database))]
    (error,) = (message for message in found if "could lead to another site" in message)
    assert error.startswith(f"In mail/{file}, the placeholder leave-token could lead")


def test_a_page_names_the_mistake_to_the_staff_alone_and_to_the_log(one_database: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, templates=tmp_path / "own", base_url="http://localhost:8025")
    KeyRing.create(settings.key_file)
    pages = tmp_path / "own" / "web"
    pages.mkdir(parents=True)
    app = create_app(Installation(settings, one_database))
    (pages / "privacy.html").write_text("<p>\n{{ sight.name }}</p>")
    with capture_logs() as logged:
        page = app.test_client().get("/privacy")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert "Something went wrong on our end" in page.text
    assert "privacy.html" not in page.text
    (said,) = (line["mistake"] for line in logged if "mistake" in line)
    assert said.startswith(f"{pages}/privacy.html, line 2: 'sight' is undefined")
    (pages / "reader.html").write_text("{% if %}")
    app = create_app(Installation(settings, one_database))
    assert app.test_client().get("/privacy").mimetype == "text/plain", "the page for errors has the mistake too"


def test_sound_templates_of_ones_own_are_used(full_content: EditionContent, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "mail" / "edition"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("{{ content.subject | upper }}\n")
    settings = Settings(home=tmp_path, templates=tmp_path / "own")
    environment, frame = create_mail_environment(settings), build_publication_context(settings)
    assert render_subject(full_content, frame, environment) == full_content.subject.upper()
    assert render_edition(full_content, frame, environment)


def test_a_template_is_compiled_once_and_again_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "greeting.txt"
    file.write_text("Good morning, {{ name }}")
    first, second = (create_jinja_environment(tmp_path).get_template("greeting.txt") for _ in range(2))
    assert first.root_render_func.__code__ is second.root_render_func.__code__
    file.write_text("Good evening, {{ name }}")
    assert create_jinja_environment(tmp_path).get_template("greeting.txt").render(name="Ada") == "Good evening, Ada"
