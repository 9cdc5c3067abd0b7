"""`digest setup` asks once, shows the changes, writes what an installation needs, and can be run again."""

import re
import shutil
import sys
from email import message_from_bytes
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import drop_consequences, run_checks, run_local_checks
from digest.app.doctor.network_access import NetworkAccess
from digest.app.setup import plan as setup_plan
from digest.app.setup.answers import QUESTIONS, SetupAnswers, SetupError, check_answer, complete_answers, propose_answer
from digest.app.setup.completion import list_dns_records
from digest.app.setup.plan import CONTAINER_USER, PlannedFile, find_log_access_group, plan_setup, propose_warm_up
from digest.cli import digest
from digest.deliver.compose.dkim import load_signer
from digest.deliver.providers.smtp import kind as smtp_kind
from digest.installation.opened_installation import open_installation
from digest.settings import load_settings
from digest.settings.loader import ENVIRONMENT_FIELDS, SECRET_FIELDS
from digest.store.models import AuditEntry
from digest.web.app import create_app
from digest.web.auth.route_rules import ROUTE_RULES
from tests.app.doctor.fake_name_server import FakeNameServer, Records
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server

SECRET_VARIABLES = {name for name, field in ENVIRONMENT_FIELDS.items() if field in SECRET_FIELDS}
DNS_CHECKS = ("spf", "dkim-record", "dmarc", "alignment", "exchangers", "reverse-name")
ANSWERS: dict[str, object] = {
    "name": "Harbor Weekly",
    "tagline": "The week on the waterfront",
    "about": "Harbor Weekly covers ports and coastal safety.",
    "site": "https://harbor.example/",
    "timezone": "America/Chicago",
    "release": "wed 07:00",
    "base_url": "https://news.harbor.example",
    "sender_address": "digest@news.harbor.example",
    "reply_to": "editors@harbor.example",
    "postal_address": "1 Pier Road, Portland, ME 04101",
    "mail": "smtp",
    "smtp_host": "mail.harbor.example",
    "smtp_port": 587,
    "smtp_user": "digest",
    "smtp_password": "s3cret/word",
    "database": "sqlite",
    "heartbeat": "https://watch.harbor.example/ping/0123",
    "subscribers": 6000,
}


def write_answers(folder: Path, **changed: object) -> Path:
    file = folder / "answers.toml"
    rows = (ANSWERS | changed).items()
    file.write_text("".join(f"{key} = {value!r}\n" for key, value in rows if value is not None), "utf-8")
    file.chmod(0o600)
    return file


BEYOND_SETUP = {"disk-space", "parsing-sandbox"}  # the machine of the tests may lack room or a sandbox


def run(folder: Path, *words: str, typed: str = "") -> Result:
    return CliRunner().invoke(digest, ["setup", "--folder", str(folder), *words], input=typed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Set one installation up without a question; give its folder and what was printed."""
    place = tmp_path_factory.mktemp("setup")
    done = run(place / "srv", "--batch", "--answers", str(write_answers(place)))
    assert done.exit_code == 0, done.output
    return place / "srv", done.output


def test_what_it_writes_is_an_installation_in_which_the_doctor_misses_nothing_that_was_asked(
    made: tuple[Path, str],
) -> None:
    settings = load_settings(made[0] / "digest.toml", {})
    file = settings.file
    assert (file.publication.timezone, file.schedule.send, file.schedule.draft) == (
        *("America/Chicago", "wed 07:00", "tue 18:30"),
    )
    assert (file.limits.proxies, file.limits.warm_up) == (1, [500, 1000, 2000, 5000])
    assert file.sender.list_id == "weekly.news.harbor.example"
    assert settings.mail_url.get_secret_value() == "smtp://digest:s3cret%2Fword@mail.harbor.example:587"
    with open_installation(settings) as installation:
        findings = drop_consequences(run_local_checks(installation))
        problems = {finding.check: finding.sentence for finding in findings if finding.level != "ok"}
        assert {check: text for check, text in problems.items() if check not in BEYOND_SETUP} == {}
        assert not installation.keys.has_demo_keys
        with installation.database.read() as session:
            entry = session.scalars(select(AuditEntry).where(AuditEntry.act == "set up")).one()
    assert entry.actor.startswith("terminal:")
    modes = {
        name: (made[0] / name).stat().st_mode & 0o777 for name in ("digest.env", "dkim.pem", "digest-data/keys.json")
    }
    assert set(modes.values()) == {0o600}


def test_its_key_signs_and_the_printed_record_is_the_keys(made: tuple[Path, str]) -> None:
    signer = load_signer(load_settings(made[0] / "digest.toml", {}))
    assert signer is not None
    record = re.search(r"digest\._domainkey\.news\.harbor\.example\. TXT (.*)", made[1])
    assert record
    assert record[1].replace('" "', "").strip('"') == signer.keys[0].dns_record()
    assert all(len(part) <= 255 for part in re.findall(r'"([^"]*)"', record[1]))
    fields = message_from_bytes(signer.sign_message(b"From: a@b\r\n\r\nx\r\n"))
    assert "d=news.harbor.example" in fields["DKIM-Signature"]


def test_a_script_gets_nothing_secret_printed_also_no_recovery_copy(made: tuple[Path, str]) -> None:
    folder, printed = made
    assert "s3cret" not in printed
    assert "PRIVATE KEY" not in printed
    assert "POSTGRES_PASSWORD" not in printed
    key_file = folder / "digest-data" / "keys.json"
    assert key_file.stat().st_mode & 0o777 == 0o600
    secrets = re.findall(r"[\w+/=-]{32,}", key_file.read_text("utf-8"))
    assert secrets
    assert [secret for secret in secrets if secret in printed] == []
    assert f"Created the keys in {key_file}." in printed


def test_whoever_is_asked_gets_the_recovery_copy_printed(tmp_path: Path) -> None:
    answers = write_answers(tmp_path)
    done = run(tmp_path / "srv", "--answers", str(answers), "--yes")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "srv" / "digest-data" / "keys.json").read_text("utf-8").strip() in done.output


@pytest.mark.parametrize("variable", sorted(SECRET_VARIABLES))
def test_a_secret_beside_a_changed_line_is_masked(variable: str) -> None:
    before = f"{variable}=scheme://user:hunter2@host\nDIGEST_BASE_URL=https://a.example\n"
    planned = PlannedFile(Path("digest.env"), before, before.replace("a.example", "b.example"))
    shown = list(planned.show_difference())
    assert any(variable in line for line in shown)
    assert "hunter2" not in "".join(shown)


def test_run_again_it_changes_nothing_and_prints_the_same_steps(made: tuple[Path, str]) -> None:
    folder, printed = made
    before = {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "digest-data"
    }
    again = run(folder, "--batch")
    assert again.exit_code == 0, again.output
    assert {path: path.read_bytes() for path in before} == before
    assert re.findall(r"(?m)^(new|changed)", again.output) == []
    steps = "Next steps:"
    assert (
        again.output.partition(steps)[2].partition("sign-up form")[0]
        == printed.partition(steps)[2].partition("sign-up form")[0]
    )


def test_run_again_with_changes_it_begins_with_how_to_install_them(tmp_path: Path) -> None:
    folder, changing = tmp_path / "srv", {"name": "Harbor Weekly", "postal_address": ANSWERS["postal_address"]}
    first = {}
    for changed in (changing, changing | {"postal_address": "2 Pier Road"}, changing | {"name": "Harbor News"}):
        done = run(folder, "--batch", "--answers", str(write_answers(tmp_path, **changed)))
        assert done.exit_code == 0, done.output
        first[changed["name"], changed["postal_address"]] = done.output.partition("\n 1. ")[2].partition("\n 2. ")[0]
    fresh, settings, files = first.values()
    assert "Put a copy of the key file" in fresh
    assert ("systemctl restart digest" in settings, "digest.service" in settings) == (True, False)
    unit = f"cp {folder}/deploy/digest.service /etc/systemd/system/ && systemctl daemon-reload"
    assert (unit in files, f"cp {folder}/deploy/nginx.conf" in files) == (True, True)


def test_a_dry_run_shows_each_change_with_secrets_masked_and_writes_nothing(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    folder = made[0]
    nginx = folder / "deploy" / "nginx.conf"
    before = {path: path.read_bytes() for path in (folder / "digest.toml", folder / "digest.env", nginx)}
    nginx.write_text(nginx.read_text("utf-8").replace("TLSv1.2 ", ""), "utf-8")
    answers = write_answers(tmp_path, smtp_password="an0ther", name="Harbor Daily")
    shown = run(folder, "--dry-run", "--batch", "--answers", str(answers)).output
    nginx.write_bytes(before[nginx])
    for line in ('-name = "Harbor Weekly"', '+name = "Harbor Daily"', "+    ssl_protocols TLSv1.2 TLSv1.3;"):
        assert re.search(rf"^ {{9}}{re.escape(line)}( +#.*)?$", shown, re.MULTILINE)
    assert "+DIGEST_MAIL_URL=smtp://digest:***@mail.harbor.example:587" in shown
    assert "an0ther" not in shown
    assert "s3cret" not in shown
    assert "No files were written." in shown
    assert {path: path.read_bytes() for path in before} == before


def test_what_an_operator_wrote_stays(made: tuple[Path, str], tmp_path: Path) -> None:
    answers = write_answers(tmp_path)
    folder = tmp_path / "srv"
    folder.mkdir()
    own = '# ours\n[publication]\nname = "Old" # was so\nintro = "Hello."\n[limits]\nproxies = 2\nwarm_up = [9]\n[backup]\nfolder = "/backups/digest"\n'
    (folder / "digest.toml").write_text(own, "utf-8")
    (folder / "digest.env").write_text(
        "# mine\nDIGEST_INSTALLATION=first\nDIGEST_HOME=" + str(tmp_path / "elsewhere") + "\n"
    )
    (folder / "digest.env").chmod(0o600)
    assert run(folder, "--batch", "--answers", str(answers)).exit_code == 0
    text = (folder / "digest.toml").read_text("utf-8")
    for kept in ("# ours", 'name = "Harbor Weekly" # was so', 'intro = "Hello."', "proxies = 2", "warm_up = [9]"):
        assert kept in text
    variables = (folder / "digest.env").read_text("utf-8")
    assert variables.startswith(f"# mine\nDIGEST_INSTALLATION=first\nDIGEST_HOME={tmp_path / 'elsewhere'}\n")
    assert (tmp_path / "elsewhere" / "keys.json").exists()
    unit = (folder / "deploy" / "digest.service").read_text("utf-8")
    assert f"ReadWritePaths={folder} -/backups/digest -{tmp_path / 'elsewhere'}\n" in unit


@pytest.mark.parametrize(
    ("host", "log", "group"),
    [
        ("localhost", "journal", "systemd-journal"),
        ("mail.harbor.example", "", ""),
        ("localhost", "/var/log/none", "adm"),
    ],
)
def test_the_log_of_a_mail_server_on_this_machine_is_followed(tmp_path: Path, host: str, log: str, group: str) -> None:
    folder = tmp_path / "srv"
    answers = write_answers(tmp_path, smtp_host=host)
    assert run(folder, "--batch", "--answers", str(answers)).exit_code == 0
    file = folder / "digest.toml"
    assert not load_settings(file).file.relay.log, "without a bounce domain, the service can't follow it"
    text = re.sub(r'(?m)^#? ?bounce_domain = "".*$', 'bounce_domain = "news.harbor.example"', file.read_text("utf-8"))
    if log.startswith("/"):
        text = re.sub(r'(?m)^#? ?log = "".*$', f'log = "{log}"', text)
    file.write_text(text, "utf-8")
    assert run(folder, "--batch", "--answers", str(answers)).exit_code == 0
    assert load_settings(file).file.relay.log == log
    unit = (folder / "deploy" / "digest.service").read_text("utf-8")
    groups = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("SupplementaryGroups")]
    assert groups == ([group] if group else [])
    assert "Group=digest\n" in unit


@pytest.mark.parametrize(("mode", "group"), [(0o644, ""), (0o640, "adm")])
def test_the_service_never_joins_roots_group_to_read_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str
) -> None:
    log = tmp_path / "mail.log"
    log.touch()
    log.chmod(mode)
    monkeypatch.setattr(Path, "group", lambda _: "root")
    assert find_log_access_group(str(log)) == group
    monkeypatch.setattr(Path, "group", lambda _: "mailreaders")
    assert find_log_access_group(str(log)) == (group and "mailreaders")


def test_a_mail_server_on_this_machine_that_signs_makes_no_key_here(tmp_path: Path) -> None:
    folder, record = tmp_path / "srv", "mail._domainkey.news.harbor.example"
    answers = write_answers(tmp_path, smtp_host="localhost", smtp_dkim_record=record)
    result = run(folder, "--batch", "--answers", str(answers))
    assert result.exit_code == 0, result.output
    settings = load_settings(folder / "digest.toml")
    assert settings.file.relay.dkim_record == record
    assert settings.dkim_key_file is None
    assert not (folder / "dkim.pem").exists()
    assert "SignHeaders *,+List-Unsubscribe,+List-Unsubscribe-Post,+Feedback-ID" in result.output
    again = run(folder, "--batch")
    assert again.exit_code == 0, again.output
    assert load_settings(folder / "digest.toml").file.relay.dkim_record == record
    here = run(
        folder, "--batch", "--answers", str(write_answers(tmp_path, smtp_host="localhost", smtp_dkim_record="-"))
    )
    assert here.exit_code == 0, here.output
    assert not load_settings(folder / "digest.toml").file.relay.dkim_record
    assert (folder / "dkim.pem").exists()


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (
            "# Domain old.example\nDomain\tnews.harbor.example\nSelector  mail\nUMask 007\n",
            "mail._domainkey.news.harbor.example",
        ),
        ("Domain news.harbor.example\n", ""),
        ("Domain a.example,b.example\nSelector mail\n", ""),
        ("KeyTable refile:/etc/opendkim/keys\n", ""),
    ],
)
def test_the_key_of_an_opendkim_on_this_machine_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, record: str
) -> None:
    file = tmp_path / "opendkim.conf"
    assert not smtp_kind.find_opendkim_record(file)
    file.write_text(text, "utf-8")
    assert smtp_kind.find_opendkim_record(file) == record
    monkeypatch.setattr(smtp_kind, "find_opendkim_record", lambda: record)
    assert propose_answer("smtp_dkim_record", {"smtp_host": "localhost"}) == (record or "-")


def test_only_for_a_mail_server_on_this_machine_setup_asks_whether_it_signs() -> None:
    (question,) = (question for question in QUESTIONS if question.key == "smtp_dkim_record")
    hosts = ("127.0.0.1", "localhost", "mail.harbor.example")
    assert [question.is_asked({"mail": "smtp", "smtp_host": host}) for host in hosts] == [True, True, False]


def test_every_question_is_asked_once_and_a_wrong_answer_again(tmp_path: Path) -> None:
    answers = ANSWERS | {"mail": "outbox", "subscribers": 0}
    asked = [question for question in QUESTIONS if question.is_asked(answers)]
    typed = [str(answers[question.key]) for question in asked]
    typed.insert(4, "Mars/Olympus")  # a zone that is none
    done = run(tmp_path / "srv", typed="\n".join([*typed, "n"]) + "\n")
    assert done.exit_code == 1, done.output
    assert "timezone: 'Mars/Olympus' isn't a time zone" in done.output
    for question in QUESTIONS:
        times = (question.key == "timezone") + 1 if question in asked else 0
        assert done.output.count(question.text) == times, question.key
    assert not (tmp_path / "srv").exists()


def test_an_example_domain_is_never_proposed_and_a_canceled_setup_leaves_nothing(tmp_path: Path) -> None:
    assert propose_answer("sender_address", {"site": "https://news.example.org/"}) is None
    assert propose_answer("sender_address", {"site": "https://www.harbor.example/"}) == "digest@news.harbor.example"
    assert propose_answer("sender_address", {"site": "https://myexample.org/"}) == "digest@news.myexample.org"
    canceled = run(tmp_path / "srv")
    assert (canceled.exit_code, list(tmp_path.iterdir())) == (1, [])


def test_what_an_option_says_is_not_asked(tmp_path: Path) -> None:
    options = [word for key in ("name", "mail") for word in (f"--{key}", str((ANSWERS | {"mail": "outbox"})[key]))]
    done = run(tmp_path / "srv", *options, typed="\n")
    assert QUESTIONS[0].text not in done.output
    assert QUESTIONS[1].text in done.output


def test_all_that_is_missing_or_wrong_is_named_at_once(tmp_path: Path) -> None:
    file = write_answers(tmp_path, name=None, base_url="http://news.harbor.example", reply_to="nobody", colour="red")
    refused = run(tmp_path / "srv", "--batch", "--answers", str(file))
    assert refused.exit_code == 2
    for words in ("base_url: Use an https", "reply_to: 'nobody' isn't an email address", "There's no question colour"):
        assert words in refused.output
    with pytest.raises(SetupError, match=r"name has no answer\n.*release has no answer\n.*smtp_host has no answer"):
        complete_answers({key: ANSWERS[key] for key in ANSWERS if key not in {"name", "release", "smtp_host"}}, {})


def test_an_answers_file_with_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = write_answers(tmp_path)
    file.chmod(0o644)
    refused = run(tmp_path / "srv", "--batch", "--answers", str(file))
    assert refused.exit_code == 2
    assert "chmod 600" in refused.output


def test_another_database_is_refused_where_there_is_one(made: tuple[Path, str]) -> None:
    refused = run(made[0], "--batch", "--database", "postgresql+psycopg://digest@localhost/digest")
    assert refused.exit_code == 2
    assert "digest migrate --to URL" in refused.output


def test_a_database_out_of_reach_is_said_and_the_files_are_written(tmp_path: Path) -> None:
    file = write_answers(tmp_path, database="postgresql+psycopg://digest:hid-den@127.0.0.1:1/digest")
    done = run(tmp_path / "srv", "--batch", "--answers", str(file))
    assert done.exit_code == 1
    assert " 1. Create the keys and the database. The database isn't responding: connection failed" in done.output
    assert "hid-den" not in done.output
    assert (tmp_path / "srv" / "digest.env").exists()


@pytest.mark.parametrize(
    ("release", "draft"),
    [
        ("fri 06:00", "thu 17:30"),
        ("mon,thu 17:30", "mon,thu 05:00"),
        ("daily 06:00", "daily 17:30"),
        ("mon 06:00", "sun 17:30"),
    ],
)
def test_an_edition_is_drafted_half_a_day_before_its_release(release: str, draft: str) -> None:
    assert complete_answers(ANSWERS | {"release": release}, {}).draft == draft


@pytest.mark.parametrize(
    ("changed", "url"),
    [
        ({}, "smtp://digest:s3cret%2Fword@mail.harbor.example:587"),
        ({"smtp_port": 465}, "smtps://digest:s3cret%2Fword@mail.harbor.example:465"),
        ({"smtp_host": "localhost", "smtp_port": 25, "smtp_user": "-"}, "smtp://localhost:25?starttls=off"),
        ({"mail": "sendgrid", "sendgrid_api_key": "SG.x"}, "sendgrid:"),
        ({"mail": "outbox"}, "outbox:"),
    ],
)
def test_the_way_that_mail_leaves_becomes_one_url(changed: dict[str, object], url: str) -> None:
    answers = complete_answers(ANSWERS | changed, {})
    assert isinstance(answers, SetupAnswers)
    assert answers.provider.mail_url == url


@pytest.mark.parametrize(
    "text", ["http://news.harbor.example", "https://news.harbor.example/x", "ftp://x.example", "news"]
)
def test_a_base_url_that_no_mail_could_link_to_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="base_url: "):
        check_answer("base_url", text)


def test_a_warm_up_ends_on_the_day_that_takes_everybody() -> None:
    assert propose_warm_up(1000) == []
    assert propose_warm_up(1001) == [500, 1000]
    assert propose_warm_up(20_000) == [500, 1000, 2000, 5000, 10_000]
    assert propose_warm_up(1_000_000)[-1] == 500_000


def test_neither_web_server_has_words_of_its_own_about_a_request_that_failed(made: tuple[Path, str]) -> None:
    """They quote the whole address, and with it a reader's token."""
    caddy, nginx = ((made[0] / "deploy" / name).read_text("utf-8") for name in ("Caddyfile", "nginx.conf"))
    assert "log {\n\t\texclude http.log.error\n" in caddy
    assert set(re.findall(r"(?m)^\s*error_log \S+ (\w+);", nginx)) == {"crit"}
    assert nginx.count("error_log") == nginx.count("server {")


def test_nginx_takes_every_upload_that_the_pages_take_and_no_longer_form(made: tuple[Path, str]) -> None:
    """What may bring a file is under a prefix that lets it through; all other paths stay below waitress's own bound."""
    text = (made[0] / "deploy" / "nginx.conf").read_text("utf-8")
    default = re.search(r"proxy_read_timeout[^{]*client_max_body_size (\d+)m;", text)
    blocks = re.findall(r"location (/\w+/) \{[^}]*client_max_body_size (\d+)m;", text)
    assert default
    sizes = {"/": int(default[1]) * 2**20, **{prefix: int(size) * 2**20 for prefix, size in blocks}}
    with open_installation(load_settings(made[0] / "digest.toml", {})) as installation:
        for rule in create_app(installation).url_map.iter_rules():
            needed = ROUTE_RULES[rule.endpoint].max_bytes if rule.endpoint in ROUTE_RULES else None
            prefix = max((p for p in sizes if rule.rule.startswith(p)), key=len)
            assert sizes[prefix] >= (needed or 0), rule.rule


def test_certbot_proves_the_name_where_nginx_serves_it_and_nginx_reads_the_new_certificate(
    made: tuple[Path, str],
) -> None:
    """A port that certbot opened itself would be nginx's; the part of the file before the mark needs no certificate."""
    nginx = (made[0] / "deploy" / "nginx.conf").read_text("utf-8")
    root = re.search(r"acme-challenge/ \{\s+root (\S+);", nginx)
    assert root
    (certbot,) = re.findall(r"certbot certonly .*", made[1])
    assert (
        certbot
        == f"certbot certonly --webroot -w {root[1]} -d news.harbor.example --deploy-hook 'systemctl reload nginx'"
    )
    (mark,) = re.findall(r"sed '/(.+?)/,\$d'", made[1])
    first, _, rest = nginx.partition(mark)
    assert "acme-challenge" in first
    assert "return 301 https://$host$request_uri;" in first
    assert first.count("{") == first.count("}")
    assert "ssl_certificate" in rest
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in rest
    assert "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;" in rest
    assert "ssl_certificate" not in first


def test_the_container_works_as_the_owner_of_its_folder_and_finds_what_the_answers_name(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    """Without capabilities root reads nothing of another's; `localhost` is the machine's, of which the mail server is."""
    folder, printed = made
    deploy = folder / "deploy"
    (user,) = re.findall(r"(?m)^USER (\d+:\d+)$", (deploy / "Containerfile").read_text("utf-8"))
    owner = folder.stat()
    assert user == (f"{owner.st_uid}:{owner.st_gid}" if owner.st_uid else f"{CONTAINER_USER}:{CONTAINER_USER}")
    for line in (f"chown -R {user} {folder}", f"-none-any.whl {deploy}/", "docker compose run --rm digest init"):
        assert line in printed
    compose = yaml_services((deploy / "compose.yaml").read_text("utf-8"))
    assert "network_mode: host" in compose["digest"]
    assert "env_file: postgresql.env" in compose["digest"]
    (port,) = re.findall(r"127\.0\.0\.1:(\d+):5432", compose["database"])
    variables = (deploy / "postgresql.env").read_text("utf-8")
    assert f"@127.0.0.1:{port}/digest\n" in variables
    older = tmp_path / "older"
    shutil.copytree(folder, older)
    (older / "deploy" / "postgresql.env").write_text(variables.replace(f"127.0.0.1:{port}", "database"), "utf-8")
    planned = plan_setup(
        older, older / "digest.toml", complete_answers(ANSWERS, {}), load_settings(folder / "digest.toml", {})
    )
    assert [file.after for file in planned.files if file.path.name == "postgresql.env"] == [variables]


def yaml_services(text: str) -> dict[str, str]:
    """Return the lines of each service of a compose file."""
    services = text.partition("services:\n")[2].partition("\nvolumes:")[0]
    return dict(re.findall(r"(?m)^  (\w+):\n((?:    .*\n?)+)", services))


def test_the_records_are_those_that_the_doctor_looks_for(made: tuple[Path, str]) -> None:
    """A mail server on this machine has to have its own address's name; of another's its owner sees to it."""
    assert "news.harbor.example. MX 10 MAILHOST." in made[1]
    assert " PTR " not in made[1]
    own = complete_answers(ANSWERS | {"smtp_host": "localhost"}, {})
    assert "1.2.0.192.in-addr.arpa. PTR news.harbor.example." in [str(record) for record in list_dns_records(own, None)]
    assert "digest doctor --online\n" in made[1]


@pytest.mark.parametrize(
    "reply_to", ["editors@harbor.example", "editors@news.harbor.example", "editors@mailboxes.example"]
)
def test_the_printed_records_satisfy_the_doctor(tmp_path: Path, reply_to: str) -> None:
    """The mail server is this machine's, and calls itself by the name in the records. Others' mailboxes have records already."""
    with run_smtp_server(RecordingHandler(), server_hostname="news.harbor.example") as port:
        own = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_user": "-", "smtp_password": None}
        done = run(tmp_path / "srv", "--batch", "--answers", str(write_answers(tmp_path, **own, reply_to=reply_to)))
        assert done.exit_code == 0, done.output
        records: Records = {("mx.mailboxes.example", "A"): ["192.0.2.9"]}
        records |= {(domain, "MX"): ["10 mx.mailboxes.example."] for domain in ("harbor.example", "mailboxes.example")}
        for name, kind, value in re.findall(r"(?m)^ +(\S+)\. (A|TXT|MX|PTR) (.+)$", done.output):
            records[name, kind] = [value.replace("MAILHOST.", "mx.mailboxes.example.")]
        assert ("1.2.0.192.in-addr.arpa", "PTR") in records
        settings = load_settings(tmp_path / "srv" / "digest.toml", {})
        with FakeNameServer(records) as names, open_installation(settings) as installation:
            outside = NetworkAccess(("127.0.0.1", int(names.server_address[1])), timeout=WAIT_TIMEOUT)
            findings = run_checks(ExaminedInstallation(installation, outside=outside), DNS_CHECKS)
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert {finding.check for finding in findings} == {*DNS_CHECKS}


@pytest.mark.parametrize(
    ("place", "protection"),
    [
        ("/home/ada/.pyenv/versions/3.12/bin/python3.12", "read-only"),
        ("/root/python/bin/python3", "read-only"),
        ("/run/user/1000/python", "read-only"),
        ("/opt/hls-digest/bin/python", "yes"),
        ("/homes/ada", "yes"),
    ],
)
def test_the_unit_sees_the_home_folder_in_which_python_really_is(
    made: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, protection: str
) -> None:
    monkeypatch.setattr(setup_plan, "find_python_places", lambda: (Path(place),))
    monkeypatch.setattr(sys, "executable", "/opt/hls-digest/bin/python")
    settings = load_settings(made[0] / "digest.toml", {})
    plan = plan_setup(tmp_path, tmp_path / "digest.toml", complete_answers(ANSWERS, {}), settings, {})
    unit = next(file.after for file in plan.files if file.path.name == "digest.service")
    assert f"ProtectHome={protection}\n" in unit


def test_python_is_where_its_environment_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "python").symlink_to(tmp_path / "real")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert setup_plan.find_python_places()[0] == (tmp_path / "real").resolve()


def test_a_python_that_the_services_user_cannot_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "private" / "bin" / "python"
    python.parent.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python")
    monkeypatch.setattr(setup_plan, "find_python_places", lambda: (python,))
    (tmp_path / "private").chmod(0o700)
    answers = write_answers(tmp_path)
    warned = run(tmp_path / "srv", "--dry-run", "--batch", "--answers", str(answers)).output
    assert f"The service's user can't enter {setup_plan.find_locked_folder(tmp_path / 'srv')}, so install" in warned
    monkeypatch.setattr(setup_plan, "find_python_places", lambda: (Path("/usr/bin/python"),))
    assert setup_plan.find_locked_folder(tmp_path / "srv") is None
    monkeypatch.setattr(setup_plan, "find_python_places", lambda: (python,))
    assert setup_plan.find_locked_folder(tmp_path / "private") != tmp_path / "private"
