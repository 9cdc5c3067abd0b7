"""After everything that can happen to addresses, no address or part of one is in the wrong place.

Five hundred addresses of random local parts at random domains are typed, added, imported well and badly, mailed,
refused, reported by a provider, looked up and erased. Then every byte that was left behind is searched. The mail
itself, in the outbox or on its way, and the files that an operator brings in hold addresses by nature.

One page may repeat an address: the answer to a refused form puts what was typed back into its field, so that a slip is
corrected rather than typed anew. They're the sender's own words, and the answer is `no-store`. It holds for subscribers'
own forms (sign-up, lost link, change of address, contact) and for the forms in which an admin looks up, adds, corrects,
or allows an address. No later page, URL, log, or audit row has it.
"""

import contextlib
import io
import json
import logging
import random
import re
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from click.testing import CliRunner
from flask import url_for
from pydantic import SecretStr
from pyrage import passphrase as age
from sqlalchemy import event, insert, select, update
from sqlalchemy.exc import IntegrityError

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import background_tasks
from digest.app.sending import send_control as sending
from digest.app.subscribers import list_transfers
from digest.app.upkeep import nightly_steps
from digest.backups.creation import create_backup
from digest.cli import digest
from digest.deliver.inbound import payloads
from digest.deliver.retention.delivery_disclosures import make_delivery_erasure_callback
from digest.installation.opened_installation import Installation
from digest.settings import AlertSettings, UsageLimitSettings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import open_database
from digest.store.models import Source
from digest.web.app import create_app
from digest.web.auth.route_rules import ROUTE_RULES
from subscribers.address import AddressError, read_address
from subscribers.consent import suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import DecryptionError
from subscribers.crypto.stored_addresses import decrypt_address
from subscribers.lifecycle.erasure import erase_person
from subscribers.signup import manual_signup
from subscribers.store import people
from subscribers.store.models import Person
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import rehearse_import, run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.actors import ADMIN
from tests.conftest import WAIT_TIMEOUT, approve_as_stored
from tests.deliver.fake_sendgrid_account import (
    API_KEY,
    SUPPRESSION_LISTS,
    FakeSendGridAccount,
    RecordedRequest,
    ScriptedResponse,
)
from tests.deliver.returned_mails import MAIL_FORMS, sent_message
from tests.deliver.smtp_servers import run_smtp_server
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.run_database import HomeDatabases, read_stored_bytes
from tests.subscribers.transfer.suppression_files import PASSPHRASE
from tests.web.conftest import WebSetup, build_web_setup, sample_evidence, store_edition
from tests.web.forms import fetch_token

# Pages for admins that nobody comes to here: no log of a mail server is examined, no source has moved or is removed from `digest.toml`.
NOT_THERE = {"admin.show_log_evidence", "admin.confirm_source_removal", "admin.confirm_moved_source"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NEEDLE = re.compile(rb"(?:zqx|xqz)[a-z]{9}", re.IGNORECASE)  # every local part and domain begins with one of the two


def _random_addresses(several: int) -> list[str]:
    chance = random.Random(47)
    words = ["".join(chance.choices(LETTERS, k=9)) for _ in range(2 * several)]
    return [f"zqx{words[2 * n]}@xqz{words[2 * n + 1]}.example.org" for n in range(several)]


ADDRESSES = _random_addresses(500)  # the last twenty are nobody's here
PARTS = {part.split(".")[0] for address in ADDRESSES for part in address.split("@")}


@dataclass
class Left:
    """What was left behind, by where: name → bytes."""

    home: Path
    database_url: str
    there: dict[str, bytes] = field(default_factory=dict)
    mailed: set[str] = field(default_factory=set)
    refused: int = 0

    def keep(self, where: str, text: str | bytes) -> None:
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        self.there[where] = self.there.get(where, b"") + b"\n" + raw

    def caught(self, where: str, act: Callable[[], object], expected: type[Exception]) -> None:
        """Do what must fail, and keep the whole traceback with its causes."""
        with pytest.raises(expected) as caught:
            act()
        self.keep(f"exception: {where}", "".join(traceback.format_exception(caught.value)))


class _Server:
    """A mail server that takes most, refuses some for good and some for now, and quotes the address each time."""

    def __init__(self, left: Left) -> None:
        self.left = left

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        place = sum(address.encode()) % 10
        if place in {0, 1}:
            self.left.refused += 1
            code = "550 5.1.1" if place == 0 else "451 4.2.1"
            local, _, domain = address.partition("@")
            return f"{code} <{address}>: {local} is not known at {domain}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.left.mailed.update(envelope.rcpt_tos)
        return f"250 taken for {envelope.rcpt_tos[0]}"


@contextlib.contextmanager
def _everything_logged(left: Left) -> Iterator[None]:
    """Keep what every logger says at DEBUG, ours before anything is taken out of it."""

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name} {record.getMessage()} {record.exc_text or ''}")

    def keep(_logger: Any, _method: str, said: Any) -> Any:
        lines.append(repr(dict(said)))
        raise structlog.DropEvent

    lines: list[str] = []
    handler, root, before = Keeping(), logging.getLogger(), structlog.get_config()
    there = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    levels = {one: one.level for one in [root, *there]}
    for one in levels:  # some libraries hold themselves back by a level of their own
        one.setLevel(logging.DEBUG)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # the test's own mail server
    root.addHandler(handler)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
        root.removeHandler(handler)
        for one, level in levels.items():
            one.setLevel(level)
        left.keep("logs at DEBUG", "\n".join(lines))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases) -> Iterator[Left]:
    """Live through it all once; the tests look at what is left."""
    home = tmp_path_factory.mktemp("home")
    left = Left(home, home_databases.create(home))
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(run_smtp_server(_Server(left)))
        with _everything_logged(left):
            database = open_database(left.database_url)  # SQLAlchemy looks at its log level once
            stack.callback(database.close)
            world = build_web_setup(database, home)
            changes = {
                "mail_url": SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections=2"),
                "file": world.install.settings.file.model_copy(
                    update={
                        "limits": UsageLimitSettings(signups_per_network=1000, signups_per_domain=1000),
                        "alerts": AlertSettings(canary_minutes=0, hard_bounces=10_000, policy_refusals=10_000),
                    }
                ),
            }
            install = Installation(world.install.settings.model_copy(update=changes), database)
            _live(install, left)
        left.keep("database", read_stored_bytes(database.engine))
        left.keep("left.log", (home / "left.log").read_bytes())
        # Without the passphrase that a backup is encrypted to: what it holds is looked at.
        create_backup(install.database, home / "backup.zip", now=RELEASE)
        with zipfile.ZipFile(home / "backup.zip") as archive:
            for name in archive.namelist():
                left.keep("backup", archive.read(name))
        yield left


def _live(install: Installation, left: Left) -> None:
    typed, added, listed = ADDRESSES[:60], ADDRESSES[60:380], ADDRESSES[380:480]
    with install.database.write() as session:
        for address in added:
            manual_signup.add_subscriber(session, install.keys, address, evidence=sample_evidence(), now=NOW)
    _type_into_forms(install, left, typed)
    _bring_in_lists(install, left, listed)
    name = store_edition(install)
    with pytest.MonkeyPatch.context() as patch:
        approve_as_stored(patch)
        mark = read_edition_status(install, name, now=NOW).content_hash
        edition_approval.approve_edition(install, name, mark, actor=ADMIN, now=NOW)
    sending.send_edition(install, name, actor=ADMIN, clock=lambda: RELEASE)
    _hear_from_a_provider(install, added[:100])
    _hear_from_the_mailbox(install, name, added[220:320])
    _stumble(install, left, added)
    _ask_the_command_line(left, added, listed)
    journal = UnsubscribeLog(install.settings.left_log, install.keys)
    with install.database.write() as session:
        for address in added[120:140]:
            number = people.find_person_number(session, install.keys, read_address(address))
            assert number is not None
            went_over = {"transport": "sendgrid", "handed_at": RELEASE}
            session.execute(update(Delivery).where(Delivery.person == number).values(**went_over))
            forget = make_delivery_erasure_callback(install.keys, lambda: NOW)
            erase_person(session, install.keys, journal, number, method="page", forget_elsewhere=forget, now=NOW)
        for address in added[140:160]:
            parsed = read_address(address)
            suppression.suppress_address(
                session, install.keys, parsed, reason="complained", actor="hook", now=NOW, unsubscribe_log=journal
            )
    _ask_the_provider(install, left, [*added[160:200], *ADDRESSES[480:]])
    _go_through_the_staffs_pages(install, left, name, added)


def _move_suppressions(client: Any, left: Left, form: dict[str, str], file_name: str) -> str:
    """Export the suppression list, and start a dry run of adopting it; return the name of the upload."""
    why = {"reason": "moving", "to": "us", "passphrase": PASSPHRASE, "repeated": PASSPHRASE}
    exported = client.post("/admin/readers/suppressions/export", data=form | why).data
    left.keep("admin pages", age.decrypt(exported, PASSPHRASE))
    sent = form | {"file": (io.BytesIO(exported), file_name)}
    answer = client.post("/admin/readers/suppressions", data=sent, content_type="multipart/form-data")
    path: str = answer.headers["Location"]
    started = client.post(f"{path}/try", data=form | {"passphrase": PASSPHRASE})
    left.keep("admin pages", path + answer.text + started.text)
    return path.rpartition("/")[2]


def _mistype(client: Any, form: dict[str, str], number: int, address: str) -> None:
    """Type what's no address where an admin may. The answer gives it back, and isn't kept."""
    for path in (f"/admin/readers/{number}/correct", "/admin/readers/find"):
        answer = client.post(path, data=form | {"address": address})
        assert (answer.status_code // 100, address in answer.text) == (4, True)


def _go_through_the_staffs_pages(install: Installation, left: Left, edition: str, added: list[str]) -> None:
    """Open every page of desk and admin, look readers up and act on them; what shows an address by nature is not kept."""
    app = create_app(install, clock=lambda: NOW)
    client = WebSetup(install, app, 0).signed_in_client("admin")
    form = fetch_token(client)

    def post(path: str, **fields: str) -> str:
        answer = client.post(path, data=form | fields)
        assert answer.status_code == 303, (path, answer.text)
        left.keep("admin pages", answer.headers["Location"] + answer.text)
        return answer.headers["Location"]

    found = [post("/admin/readers/find", address=address) for address in (added[10], added[110], added[210])]
    numbers = [int(record.rpartition("/")[2]) for record in found]
    post("/admin/readers/filter", domain=added[0].partition("@")[2], reason="It asked")
    search = post("/admin/readers/search", part=added[0][3:9], why="The subscriber asked")
    looking = app.extensions["digest"].searches._searches[search.rpartition("/")[2]].thread
    looking.join(WAIT_TIMEOUT)
    # Somebody uploads a list whose first row is a reader, but for one heading.
    table = "\n".join([f"email,{added[11]},status", *(f"{address},Nn,{address}" for address in ADDRESSES[480:])])
    sent = form | {"file": (io.BytesIO(table.encode()), f"{added[12]}.csv")}
    uploaded = client.post("/admin/import", data=sent, content_type="multipart/form-data").headers["Location"]
    post(f"{uploaded}/try", **{"column-0": "address", "column-1": "nothing", "column-2": "status"})
    app.extensions["digest"].uploads.wait(uploaded.rpartition("/")[2])
    for where, kept in (("note of an upload", "upload.json"), ("outcomes of rows", "*.would-be-outcomes")):
        left.keep(where, next(install.settings.uploads_folder.glob(f"*/{kept}")).read_bytes())
    left.keep("outcomes of rows", client.post(f"{uploaded}/outcomes", data=form).data)
    suppressions = _move_suppressions(client, left, form, f"{added[12]}.age")
    app.extensions["digest"].uploads.wait(suppressions)
    with install.database.write() as session:
        session.add(Source(name="Port News", publisher="Port News", url="https://port.example/feed", topics=[]))
    # Before anybody was shown an address, no page of the staff holds one.
    arguments: dict[str, Any] = {
        "name": edition,
        "seq": 1,
        "act": "leave",
        "form": "pause",
        "view": "phone",
        "table": "limits",
        "batch": 1,
    }
    arguments |= {"key": "confirm", "chosen": "all"}
    subscribers, first = [{"number": number} for number in numbers], [{"number": 1}]
    own_values: dict[str, list[dict[str, Any]]] = {
        "admin.show_suppression_upload": [{"name": suppressions}],
        "admin.show_upload": [{"name": uploaded.rpartition("/")[2]}],
        "admin.show_search": [{"name": search.rpartition("/")[2]}],
        **dict.fromkeys(("admin.show_source", "admin.confirm_source_removal"), first),
        **dict.fromkeys(("approvals.show_version", "approvals.show_version_mail"), first),
        "admin.show_member": [{"number": 1}, {"number": 2}],
        "admin.confirm_account_action": [{"number": number, "act": "reset"} for number in (1, 2)],
    }
    opened: Counter[str] = Counter()
    for rule in app.url_map.iter_rules():
        if not ROUTE_RULES[rule.endpoint].role or "GET" not in (rule.methods or ()):
            continue
        named = {name: arguments[name] for name in rule.arguments & arguments.keys()}
        each_values = own_values.get(rule.endpoint, subscribers if "number" in rule.arguments else [{}])
        with app.test_request_context():
            paths = [url_for(rule.endpoint, **named | values) for values in each_values]
        for path in paths:
            answer = client.get(path)
            opened[rule.endpoint] += answer.status_code < 400
            left.keep("admin pages", path + answer.text)
    not_opened = {endpoint for endpoint, count in opened.items() if not count and endpoint.startswith("admin.")}
    assert not_opened == NOT_THERE
    for number, act in zip(numbers, ("leave", "links", "stop"), strict=True):
        post(f"/admin/readers/{number}/address", other="asked by phone")
        post(f"/admin/readers/{number}/{act}", reason="asked by phone")
        post(f"/admin/readers/{number}/request/mail")
    _mistype(client, form, numbers[1], f"{added[10]}@")
    refused = client.post(
        f"/admin/readers/{numbers[0]}/erase", data=form | {"reason": added[10], "number": str(numbers[0])}
    )
    assert refused.status_code == 400
    later = create_app(install, clock=lambda: NOW + timedelta(minutes=16)).test_client()
    later.set_cookie(*WebSetup(install, app, 0).session_cookie("admin"), domain="localhost")
    for path in (*found, "/admin/audit", "/admin/audit/export", "/admin/deliveries"):
        left.keep("admin pages", later.get(path).text)


def _ask_the_provider(install: Installation, left: Left, listed: list[str]) -> None:
    """Spend a night with SendGrid: its lists are read, and erasures passed on, once refused by name."""
    night = RELEASE + timedelta(hours=3)

    def by_name(asked: RecordedRequest) -> ScriptedResponse | None:
        if not asked.path.endswith("erasejob"):
            return None
        said = f"Email_address {asked.body['email_addresses'][0]} is not valid"
        return ScriptedResponse(400, json.dumps({"errors": [{"message": said}]}).encode())

    with FakeSendGridAccount(by_name) as fake:
        for place, address in enumerate(listed):
            fake.add_to_list(
                SUPPRESSION_LISTS[place % len(SUPPRESSION_LISTS)],
                address,
                int(RELEASE.timestamp()),
                reason=f"550 5.1.1 <{address}>",
            )
        access = {"sendgrid_api_key": SecretStr(API_KEY), "sendgrid_host": fake.host}
        install = Installation(install.settings.model_copy(update=access), install.database)
        pulled = list_transfers.pull_suppressions_without_actor(install, night)
        assert (pulled.entries, pulled.matched_people) == (60, 40)
        left.keep("nightly", str(pulled))
        left.keep("nightly", nightly_steps.request_provider_erasures(install, night))
        assert not fake.erased_addresses
        fake.override = lambda _: None
        left.keep("nightly", nightly_steps.run_nightly_steps(install, night + timedelta(days=1)))
        assert len(fake.erased_addresses) == 20


def _type_into_forms(install: Installation, left: Left, typed: list[str]) -> None:
    app = create_app(install, clock=lambda: NOW)
    client = app.test_client()
    for place, address in enumerate([*typed, typed[0], ADDRESSES[60]]):
        form = {"email": address, "agree": "yes", "wording": "1"}
        answer = client.post("/subscribe", data=form, environ_base={"REMOTE_ADDR": f"198.18.{place}.9"})
        assert answer.status_code == 200
        left.keep("pages", answer.data)
        left.keep("pages", client.post("/preferences", data={"email": address}).data)
    for path in ("/subscribe", "/preferences"):
        slip = client.post(path, data={"email": typed[0].replace("@", "@@")})
        assert (slip.status_code, typed[0].partition("@")[0] in slip.text) == (400, True)
    for path in (f"/nobody/{typed[0]}", f"/u/{typed[1]}", f"/preferences/{typed[2]}", f"/confirm/{typed[3]}"):
        answer = client.get(path, query_string={"email": typed[4]})
        assert answer.status_code >= 400
        left.keep("error pages", answer.data)
        left.keep("error pages", client.post(path, data={"email": typed[5]}).data)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with _broken(install):
        answer = client.post("/subscribe", data={"email": typed[6], "agree": "yes", "wording": "1"})
        assert answer.status_code == 500
        left.keep("error pages", answer.data)
    background_tasks.process_signup_requests(install, clock=lambda: NOW)
    background_tasks.send_due_transactional_emails(install, clock=lambda: NOW)


@contextlib.contextmanager
def _broken(install: Installation) -> Iterator[None]:
    """Have every write to the database fail, with all the words that SQLAlchemy has for that."""

    def fail(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            cursor.execute("SELECT * FROM no_such_table")

    event.listen(install.database.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(install.database.engine, "before_cursor_execute", fail)


def _bring_in_lists(install: Installation, left: Left, listed: list[str]) -> None:
    rows = [f"{a},2020-01-01 10:00:00,203.0.113.9" for a in listed[:50]]
    rows += [f"{a},2099-01-01 10:00:00,203.0.113.9" for a in listed[50:60]]  # confirmed in the future
    rows += [f"{a.replace('@', '@@')},," for a in listed[60:70]]
    rows += [f"{a} {a},," for a in listed[70:80]] + [f'"{a}' for a in listed[80:81]]
    path = left.home / "upload.csv"
    path.write_text("\n".join(["Email Address,CONFIRM_TIME,CONFIRM_IP", *rows]) + '"\n')
    desk = ImportContext(install.database, install.keys, UnsubscribeLog(install.settings.left_log, install.keys), "eve")
    reasons: list[str] = []
    survey = survey_file(path)
    report = rehearse_import(desk, survey, ImportOptions(), now=NOW)
    left.keep("import report", repr((report.counts, report.problems)))
    report = run_import(
        desk,
        survey,
        ImportOptions(),
        now=NOW,
        on_reject=lambda number, reason, _fields: reasons.append(f"{number} {reason}"),
    )
    left.keep("import report", repr((report.counts, report.problems, reasons)))
    assert reasons, "nothing was rejected"
    with _broken(install):
        other = left.home / "other.csv"
        other.write_text("\n".join(listed[90:]) + "\n")
        left.caught(
            "import into a broken database",
            lambda: run_import(desk, survey_file(other), ImportOptions(), now=NOW, on_reject=lambda *_: None),
            Exception,
        )


def _hear_from_a_provider(install: Installation, several: list[str]) -> None:
    events = []
    with install.database.read() as session:
        for place, address in enumerate(several):
            number = people.find_person_number(session, install.keys, read_address(address))
            delivery = session.scalars(select(Delivery.id).where(Delivery.person == number)).first()
            kind = ("bounce", "spamreport", "deferred", "dropped", "delivered")[place % 5]
            events.append(
                {
                    "email": address,
                    "event": kind,
                    "timestamp": int(RELEASE.timestamp()) + 60,
                    "sg_event_id": f"e{place}",
                    "delivery_id": delivery,
                    "reason": f"550 5.1.1 <{address}> {address.split('@')[0]} not known at {address.split('@')[1]}",
                    "response": f"250 ok for {address.upper()}",
                    "status": "5.1.1",
                }
            )
    payloads.store_payload(install.database, install.keys, json.dumps(events).encode(), origin="sendgrid", now=RELEASE)
    payloads.store_payload(
        install.database, install.keys, f"no JSON: {several[0]}".encode(), origin="sendgrid", now=RELEASE
    )
    counts = background_tasks.apply_inbound_events(install, clock=lambda: RELEASE + timedelta(minutes=5))
    assert counts.total() >= 100


def _hear_from_the_mailbox(install: Installation, name: str, several: list[str]) -> None:
    """Let bounces and complaints of every form come back, each about one of the readers."""
    with install.database.read() as session:
        numbers = [people.find_person_number(session, install.keys, read_address(address)) for address in several]
    for place, (number, address) in enumerate(zip(numbers, several, strict=True)):
        assert number is not None
        spoken = sent_message(install.keys, number, f"edition:{name}", subscriber_address=address)
        raw = spoken.returned_mail(MAIL_FORMS[place % len(MAIL_FORMS)])
        payloads.store_payload(install.database, install.keys, raw, origin="mailbox", now=RELEASE)
    counts = background_tasks.apply_inbound_events(install, clock=lambda: RELEASE + timedelta(minutes=6))
    assert {"bounced", "complained", "deferred", "person bounced", "person complained by mail"} <= counts.keys()


def _stumble(install: Installation, left: Left, added: list[str]) -> None:
    """Raise what our own code raises about addresses, and what the database does."""
    local, domain = added[0].split("@")
    for odd in (f"{local}@", f"{local}@@{domain}", f"{local}é@{domain}", f"{local}@{domain.split('.')[0]}"):
        left.caught("no address", lambda odd=odd: read_address(odd), AddressError)  # type: ignore[misc]

    def twice() -> None:
        with install.database.write() as session:
            row = session.scalars(select(Person).limit(1)).one()
            said = {c.name: getattr(row, c.name) for c in Person.__table__.columns if c.name != "number"}
            session.execute(insert(Person), [said | {"asked_where": added[1]}])

    left.caught("the database", twice, IntegrityError)
    with install.database.read() as session:
        rows = list(session.scalars(select(Person).where(Person.ciphertext.is_not(None)).limit(2)))
        sealed = (rows[0].ciphertext or b"", rows[0].key_id or "")
    left.caught("the vault", lambda: decrypt_address(install.keys, sealed, rows[1].number), DecryptionError)
    left.keep("repr", repr([read_address(a) for a in added[:20]]) + repr(install.keys) + repr(install))


def _ask_the_command_line(left: Left, added: list[str], listed: list[str]) -> None:
    environment = {"DIGEST_HOME": str(left.home), "DIGEST_DATABASE_URL": left.database_url}
    run = CliRunner(env=environment | {"DIGEST_BASE_URL": "https://news.example.org"})
    proof = ["--where", "x", "--on", "2026-03-04", "--method", "list", "--consent-text", "Yes."]
    for words, typed in (
        (["subscribers", "add", "-", *proof], added[0]),
        (["subscribers", "add", "-", *proof], f"{added[1]}@"),
        (["subscribers", "unsubscribe", "-", "--reason", "phone"], added[2]),
        (["subscribers", "unsubscribe", "-", "--reason", "phone"], listed[-1]),
        (["subscribers", "list"], ""),
        (["subscribers", "verify"], ""),
        (["subscribers", "import", str(left.home / "upload.csv"), "--dry-run"], ""),
        (["keys", "rotate", "vault"], ""),
        (["keys", "list"], ""),
    ):
        result = run.invoke(digest, words, input=typed + "\n")
        left.keep(f"command {words[1]}", result.output + repr(result.exception))


def test_the_world_was_as_busy_as_it_should_be(left: Left) -> None:
    assert len(left.mailed) > 250
    assert left.refused > 50
    database = open_database(left.database_url)
    with database.read() as session:
        states = set(session.scalars(select(Delivery.state)))
        replies = set(session.scalars(select(Delivery.reply)))
    database.close()
    assert {DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.WAITING} <= states
    assert any("not known" in reply for reply in replies)
    assert NEEDLE.search(ADDRESSES[0].encode()), "the search itself would miss them"
    assert len(left.there["logs at DEBUG"]) > 500_000


WHERE = (
    *("database", "backup", "left.log", "logs at DEBUG", "pages", "error pages", "admin pages", "note of an upload"),
    "outcomes of rows",
    *("import report", "nightly", "repr"),
    *("exception: no address", "exception: the database", "exception: the vault"),
    "exception: import into a broken database",
    *(f"command {name}" for name in ("add", "unsubscribe", "list", "verify", "import", "rotate")),
)


def test_every_place_is_searched(left: Left) -> None:
    assert set(left.there) == set(WHERE)
    assert all(left.there.values())


@pytest.mark.parametrize("where", WHERE)
def test_no_part_of_an_address_stands_in(left: Left, where: str) -> None:
    found = {match.group().decode().lower() for match in NEEDLE.finditer(left.there[where])} & PARTS
    assert not found, f"{len(found)} local parts or domains, such as {min(found)}"
