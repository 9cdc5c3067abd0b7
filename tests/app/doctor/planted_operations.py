"""Faults of an installation and of how it is run, each with the check that names it and its advice."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import text

from digest.app.accounts.sign_in_log import SCOPE, SURGE
from digest.app.upkeep.backups import BACK_UP
from digest.backups.last_backup import BACKUP_STATE_KEY
from digest.deliver.control import article_recheck_results, correction_waits, installation_hold
from digest.deliver.inbound import mailbox_poll as poll
from digest.deliver.inbound.mail_log import state_key
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.edition.content.edition_content import EditionContent
from digest.edition.edition_queries import make_release_slot_key
from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.store.audit import record_audit
from digest.store.correction_models import Correction
from digest.store.delivery_models import (
    Delivery,
    DeliveryState,
    ProviderErasure,
    QueuedNoticeEmail,
    ReceivedEventPayload,
    StaffMember,
    StoredInstallationValue,
)
from digest.store.engine import Database
from digest.store.models import (
    FIRST_LOOK_JOB,
    Edition,
    EditionState,
    ReleaseScheduleChange,
    ScheduleSlot,
    Source,
    SourceHealth,
)
from digest.store.process_identity import identify_current_process
from subscribers.crypto.keys import KeyRing
from subscribers.signup.rate_limits import SURGE_KIND
from subscribers.store.models import ImportBatch, Person, PersonState, Seal
from subscribers.store.signup_models import RateLimitCount, SignupSurge
from tests.conftest import ROOT
from tests.moments import AFTER_RELEASE as NOW
from tests.row_keys import change_rows

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSED_AS_CHANGED = {"state": DeliveryState.REFUSED, "reply": CHANGED_ROW}
SOUND_SETTINGS = """
[publication]
name = "HLS.Today"

[sender]
address = "digest@hls.test"
reply_to = "desk@hls.test"
list_id = "weekly.hls.test"
postal_address = "1 Main St, Springfield"

[[sources]]
url = "https://feeds.hls.test/all"
name = "Ports"
publisher = "Ports"

[[sources]]
url = "https://feeds.hls.test/products"
name = "Products"
publisher = "Products"
section = "products"

[[sources]]
url = "https://feeds.hls.test/events"
name = "Events"
publisher = "Events"
section = "events"

[[sources]]
url = "https://feeds.hls.test/opportunities"
name = "Opportunities"
publisher = "Opportunities"
section = "opportunities"

[limits]
proxies = 1
"""


def forge_admin(world: "FaultyInstallation") -> None:
    columns = "email, role, added_at, added_by, proven_at"
    with world.database.engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO staff ({columns}) SELECT 'x@hls.test', role, added_at, added_by, proven_at FROM staff")
        )


@dataclass
class FaultyInstallation:
    """An installation that is sound until something is planted in it; its settings are read when it is examined."""

    home: Path
    database: Database
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make_sound(cls, home: Path, database: Database) -> "FaultyInstallation":
        home.chmod(0o700)
        (home / "digest.toml").write_text(SOUND_SETTINGS)
        (home / "digest.toml").chmod(0o644)  # whatever the umask of who runs the tests
        KeyRing.create(home / "keys.json")
        world = cls(home, database, {"DIGEST_HOME": str(home), "DIGEST_BASE_URL": "https://news.hls.test"})
        world.add(StaffMember(email="eve@hls.test", role="admin", added_at=NOW, added_by="x", proven_at=NOW))
        return world

    def open(self) -> Installation:
        """Open it with the settings as they are now."""
        return Installation(load_settings(self.home / "digest.toml", self.environ), self.database)

    def replace_setting(self, old: str, new: str) -> None:
        file = self.home / "digest.toml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    def add(self, *rows: object) -> None:
        with self.database.write() as session:
            for row in rows:
                session.add(row)
                session.flush()

    def add_person(self, asked_at: datetime = NOW - 30 * DAY, **columns: Any) -> None:
        self.add(
            Person(
                **({"state": PersonState.SUBSCRIBED, "choices": {}, "asked_where": "/", "asked_at": asked_at} | columns)
            )
        )

    def remember(self, name: str, value: Any) -> None:
        self.add(StoredInstallationValue(name=name, value=value, at=NOW))


ASIDE = {"0" * 32: {"place": 0, "at": NOW.isoformat(), "reason": "refusals", "decision": "", "returning": False}}


def edition(**columns: Any) -> Edition:
    release = NOW - 3 * DAY
    usual = {
        "name": "2026-W47",
        "number": 147,
        "state": EditionState.DRAFT,
        "slot": release.isoformat(),
        "content": {},
        "opens_at": release - 7 * DAY,
        "cut_off": release - HOUR,
        "release_at": release,
        "drafted_at": release - HOUR,
    }
    return Edition(**(usual | columns))


def delivery(**columns: Any) -> Delivery:
    at = NOW - 2 * HOUR
    usual = {"id": "d" * 26, "purpose": "confirm:1", "state": DeliveryState.WAITING, "due_at": at, "next_try_at": at}
    return Delivery(**(usual | columns))


def slot(job: str, at: datetime, *, done: bool = True, outcome: str = "") -> ScheduleSlot:
    return ScheduleSlot(job=job, at=at, owner="-", lease_until=at, done_at=at if done else None, outcome=outcome)


def write_dkim_key(world: FaultyInstallation, bits: int = 2048) -> Path:
    """Sign with a key of so many bits; give its file."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = world.home / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(rsa.generate_private_key(65537, bits).private_bytes(*form))
    world.environ |= {
        "DIGEST_DKIM_DOMAIN": "hls.test",
        "DIGEST_DKIM_SELECTOR": "one",
        "DIGEST_DKIM_KEY_FILE": str(file),
    }
    return file


def open_key_file(world: FaultyInstallation) -> None:
    (world.home / "keys.json").chmod(0o644)


def lose_keys(world: FaultyInstallation) -> None:
    world.add_person(lookup="x" * 64, lookup_key="lookup-1", ciphertext=b"x", key_id="vault-1")
    (world.home / "keys.json").unlink()


def damage_keys(world: FaultyInstallation) -> None:
    (world.home / "keys.json").write_text("{")


def close_outbox(world: FaultyInstallation) -> None:
    (world.home / "outbox").mkdir(mode=0o500)


def open_outbox(world: FaultyInstallation) -> None:
    (world.home / "outbox").mkdir()
    (world.home / "outbox").chmod(0o755)


def open_database_file(world: FaultyInstallation) -> None:
    (world.home / "digest.db").chmod(0o666)


def forget_schema(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0002'"))


def forge_audit(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W47", {}, actor="eve", now=NOW - DAY)
    with world.database.write() as session:
        session.execute(text("UPDATE audit SET actor = 'mallory'"))


def act_in_the_future(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W47", {}, actor="eve", now=NOW + HOUR)


def act_long_ago(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W47", {}, actor="eve", now=NOW - 2 * DAY)


def damage_unsubscribe_log(world: FaultyInstallation) -> None:
    (world.home / "left.log").write_text("{}\n{}\n")


def lock_unsubscribe_log(world: FaultyInstallation) -> None:
    (world.home / "left.log").touch(mode=0o400)


def misspell_setting(world: FaultyInstallation) -> None:
    change_while_open(world, "postal_address", "postal_adress")


def repeat_setting(world: FaultyInstallation) -> None:
    line = 'postal_address = "1 Main St, Springfield"\n'
    change_while_open(world, line, line * 2)


def change_while_open(world: FaultyInstallation, old: str, new: str) -> None:
    """Change the file under a process that began before."""
    installation = world.open()
    world.replace_setting(old, new)
    os.utime(world.home / "digest.toml", ns=(1, 1))
    world.open = lambda: installation  # type: ignore[method-assign]


def leave_old_backup(world: FaultyInstallation) -> None:
    world.add_person()
    with world.database.write() as session:
        record_audit(session, BACK_UP.name, "installation", {}, actor="eve", now=NOW - 9 * DAY)


def seal_long_ago(world: FaultyInstallation) -> None:
    world.add(Seal(at=NOW - 3 * DAY, through=0, people=0, links=0, root="r", previous="", hash="h"))


def write_template_mistake(world: FaultyInstallation) -> None:
    folder = world.home / "own" / "web"
    folder.mkdir(parents=True)
    (folder / "error.html").write_text("{% if %}")
    world.environ["DIGEST_TEMPLATES"] = str(world.home / "own")


def open_dkim_key(world: FaultyInstallation) -> None:
    write_dkim_key(world).chmod(0o644)


def sign_for_a_stranger(world: FaultyInstallation) -> None:
    write_dkim_key(world)
    world.environ["DIGEST_DKIM_DOMAIN"] = "other.test"


def lose_article(world: FaultyInstallation) -> None:
    content = json.loads((ROOT / "tests" / "fixtures" / "edition.json").read_text("utf-8"))
    url = next(iter(EditionContent.from_json(content).linked_articles))
    world.add(edition(content=content))
    look = article_recheck_results.ArticleCheck(
        NOW, None, 1, (article_recheck_results.ArticleFinding(url, "Cranes", "404"),)
    )
    with world.database.write() as session:
        article_recheck_results.save_article_check(session, "2026-W47", look)


def refuse_correction(world: FaultyInstallation) -> None:
    texts = dict.fromkeys(("section", "headline", "was", "becomes", "note"), "x")
    made = {"seq": 2, "at": NOW - DAY, "actor": "staff 1", "signed": "Dana", "mail_approved_at": NOW - DAY}
    of_story = {"url": "https://fema.example/", "field": "headline", "is_carried": False}
    world.add(edition(id=1, state=EditionState.SENT))
    world.add(Correction(id=5, edition_id=1, **made, **of_story, **texts))
    purpose, later = "correction:5", NOW + HOUR
    world.add(delivery(purpose=purpose, due_at=later, next_try_at=later))
    with world.database.write() as session:
        correction_waits.note_correction_wait(session, purpose, "552 5.3.4 too big", now=NOW)


def leave_run_file(world: FaultyInstallation) -> None:
    (world.home / "runs").mkdir(mode=0o700)
    (world.home / "runs" / "abcd.run").write_bytes(b"{}")


def hold(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a wrong date", actor="eve", now=NOW)


def remove_admin(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        change_rows(session, StaffMember, role="editor")


def forget_proof(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        change_rows(session, StaffMember, proven_at=None)


def hold_the_link_back(world: FaultyInstallation) -> None:
    forget_proof(world)
    hold(world)


def set_mail(url: str) -> "Plant":
    return lambda world: world.environ.update(DIGEST_MAIL_URL=url)


def set_environ(**values: str) -> "Plant":
    return lambda world: world.environ.update(values)


def change(old: str, new: str) -> "Plant":
    return lambda world: world.replace_setting(old, new)


def add_rows(*make_rows: Callable[[], object]) -> "Plant":
    return lambda world: world.add(*(make() for make in make_rows))


def remember_poll(**trouble: Any) -> "Plant":
    def plant(world: FaultyInstallation) -> None:
        world.replace_setting("[limits]", '[inbound]\nhost = "127.0.0.1"\nuser = "u"\ntls = "off"\n[limits]')
        world.environ["DIGEST_INBOUND_PASSWORD"] = "secret"
        world.remember(poll.LAST_POLL_STATE_KEY, trouble)

    return plant


def skip_two_releases(world: FaultyInstallation) -> None:
    for week in (1, 2):
        day = (NOW + 7 * week * DAY).date()
        world.add(
            ReleaseScheduleChange(
                regular_on=day, release_at=NOW + 7 * week * DAY - HOUR, skipped=True, changed_by="eve", changed_at=NOW
            )
        )


def fail_backup(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", '[backup]\nfolder = "/backups"\n\n[limits]')
    world.environ["DIGEST_BACKUP_PASSPHRASE"] = "a rather long passphrase"
    world.remember(BACKUP_STATE_KEY, {"trouble": "/backups: no room.", "tried_at": NOW.isoformat()})


def lose_heartbeat(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", '[heartbeats]\nnightly = "https://watch.hls.test/0123"\n\n[limits]')
    world.remember("heartbeat nightly", {"trouble": "status 404"})


def lose_mail_log(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", '[relay]\nlog = "journal"\n\n[limits]')
    world.remember(
        state_key(identify_current_process().host), {"trouble": "The journal can't be read (no permission)."}
    )


def block_backup_folder(world: FaultyInstallation) -> None:
    file = world.home / "digest.toml"
    world.replace_setting("[limits]", f'[backup]\nfolder = "{file}"\n\n[limits]')
    world.environ["DIGEST_BACKUP_PASSPHRASE"] = "a rather long passphrase"


Plant = Callable[[FaultyInstallation], object]
# What is planted, the check that names it, and what its sentence tells to do.
OPERATIONS_FAULTS: dict[str, tuple[Plant, str, str]] = {
    "others may read the key file": (
        open_key_file,
        "key-file",
        "for kind in vault lookup session; do digest keys rotate $kind; done",
    ),
    "the key file is lost": (lose_keys, "key-file", "digest keys restore"),
    "the key file is damaged": (damage_keys, "key-file", "digest keys restore FILE --replace"),
    "the outbox cannot be written": (close_outbox, "home-folder", "chmod 700"),
    "others may look into the outbox": (open_outbox, "home-folder", "chmod 700"),
    "others may write the database": (open_database_file, "database", "chmod 600"),
    "the database was never migrated": (forget_schema, "database", "digest upgrade"),
    "a row of the audit log was changed": (forge_audit, "audit-log", "Compare the log with a backup"),
    "the clock went back": (act_in_the_future, "clock", "timedatectl"),
    "the departure log is damaged": (damage_unsubscribe_log, "departure-log", "left.log from a copy"),
    "the departure log cannot be written": (lock_unsubscribe_log, "departure-log", "chmod 600"),
    "a setting stands twice": (repeat_setting, "settings", "on lines 9 and 10. Remove one of the two lines."),
    "a setting is misspelt": (misspell_setting, "settings", "Correct the listed settings"),
    "others may change the settings": (lambda w: (w.home / "digest.toml").chmod(0o666), "settings", "chmod 644"),
    "no source": (
        change(SOUND_SETTINGS[SOUND_SETTINGS.index("[[") : SOUND_SETTINGS.index("[limits")], ""),
        "sources",
        "sources add",
    ),
    "no postal address": (
        change("1 Main St, Springfield", ""),
        *("postal-address", 'digest.toml, change line 9 to: postal_address = "'),
    ),
    "no postal address, and no line of it": (
        change('postal_address = "1 Main St, Springfield"\n', ""),
        *("postal-address", "Under [sender] in "),
    ),
    "another name, and HLS.Today's words": (change("HLS.Today", "Vigie"), "own-texts", "Enter your own"),
    "consent to nobody": (
        change(
            "[limits]",
            '[consent]\ntext = "Yes, send me the news by mail once a week, until I leave by the link in every mail."\n[limits]',
        ),
        "consent-wording",
        "{name}",
    ),
    "links without https": (
        set_environ(DIGEST_BASE_URL="http://news.hls.test"),
        "base-url",
        "digest.env, add: DIGEST_BASE_URL=https://news.hls.test",
    ),
    "a proxy that nobody declared": (
        change("proxies = 1", "proxies = 0"),
        "proxies",
        "digest.toml, change line 35 to: proxies = 1",
    ),
    "a template with a mistake": (write_template_mistake, "templates", "Correct it"),
    "a logo that is not kept": (
        change("[limits]", '[branding]\nlogo = "a.png"\nlogo_dark = "b.png"\n[limits]'),
        *("logo", "digest media add"),
    ),
    "no such provider": (set_mail("carrier-pigeon:"), "provider", "DIGEST_MAIL_URL"),
    "an option that SMTP has not": (
        set_mail("smtp://mx.hls.test?speed=9"),
        "provider",
        "Remove or correct these options",
    ),
    "SendGrid without a key": (set_mail("sendgrid:"), "provider", "DIGEST_SENDGRID_API_KEY"),
    "SendGrid's events are rejected": (set_mail("sendgrid:"), "provider-events", "DIGEST_SENDGRID_WEBHOOK_KEY"),
    "mail is not signed": (set_mail("smtp://mx.hls.test"), "signing", "openssl genrsa -out"),
    "others may read the DKIM key": (open_dkim_key, "signing", "chmod 600"),
    "signed for another domain": (sign_for_a_stranger, "signing", "digest.env, add: DIGEST_DKIM_DOMAIN=hls.test"),
    "bounces are not read": (set_mail("smtp://mx.hls.test"), "bounces", "[inbound]"),
    "the bounce mailbox can't be read": (remember_poll(trouble="no folder", troubles=3), "bounce-mailbox", "[inbound]"),
    "somebody made himself an admin in the database": (forge_admin, "access-rows", "Find out how"),
    "an email is for someone else than when it was queued": (
        add_rows(
            lambda: Delivery(id="changed", purpose="data:1", due_at=NOW - DAY, next_try_at=NOW, **REFUSED_AS_CHANGED)
        ),
        *("changed-deliveries", "Find out how"),
    ),
    "an edition on the public pages was never approved": (
        add_rows(lambda: edition(release_at=NOW - 7 * DAY, state=EditionState.SENT)),
        *("public-editions", "restore a backup"),
    ),
    "a draft was changed in the database": (
        add_rows(lambda: edition(release_at=NOW + 7 * DAY)),
        *("drafts", "'digest draft --update EDITION'"),
    ),
    "no admin": (remove_admin, "staff", "digest staff add"),
    "an admin who has not proven the address": (forget_proof, "staff", "open the link emailed to "),
    "an admin whose link is held back": (
        hold_the_link_back,
        "staff",
        "run 'digest resume --all' (all sending is paused",
    ),
    "the timetable stands still": (
        add_rows(lambda: slot(FIRST_LOOK_JOB, NOW - 9 * DAY), lambda: slot("nightly", NOW - 2 * DAY)),
        *("timetable", "digest serve"),
    ),
    "nothing follows the timetable": (act_long_ago, "timetable", "Start 'digest serve'"),
    "a job hangs": (add_rows(lambda: slot("collect", NOW - 3 * HOUR, done=False)), "stuck-job", "journalctl -u digest"),
    "a step of the night failed": (
        add_rows(lambda: slot("nightly", NOW - 8 * HOUR, outcome="sealed; prune_media failed: OSError")),
        *("nightly-steps", "last night's log"),
    ),
    "the ledger is not sealed": (seal_long_ago, "seals", "digest serve"),
    "no backup": (lambda w: w.add_person(), "backup", "digest backup"),
    "an old backup": (leave_old_backup, "backup", "digest backup"),
    "notices do not leave": (add_rows(delivery), "waiting-mail", "digest serve"),
    "Bounces and events haven't been processed": (
        add_rows(lambda: ReceivedEventPayload(at=NOW - DAY, origin="x", body_hash="h", ciphertext=b"c", key_id="k")),
        *("unapplied-events", "digest inbound"),
    ),
    "messages are in doubt": (
        add_rows(lambda: delivery(state=DeliveryState.UNCERTAIN)),
        "uncertain",
        "digest uncertain",
    ),
    "a process of another machine fell silent with a message": (
        add_rows(lambda: delivery(state=DeliveryState.HANDING_OVER, lease_until=NOW - HOUR)),
        "uncertain",
        "digest uncertain",
    ),
    "a run was killed": (leave_run_file, "dead-run", "digest send"),
    "choices cannot be read": (lambda w: w.add_person(choices={"hour": "noon"}), "choices", "/preferences"),
    "the installation is held": (hold, "held", '("a wrong date"). Ask whether'),
    "an edition rests": (
        add_rows(lambda: edition(state=EditionState.SENDING, paused_at=NOW, paused_because="too many bounces")),
        *("paused", "digest resume"),
    ),
    "a provider's emails are set aside": (
        add_rows(lambda: edition(state=EditionState.SENDING, set_aside=ASIDE)),
        *("set-aside", "run 'digest set-aside 2026-W47'"),
    ),
    "a correction is refused": (refuse_correction, "refused-correction", "552 5.3.4 too big. Check"),
    "an article is gone": (lose_article, "gone-articles", "approve the edition again"),
    "sign-ups surge": (
        add_rows(lambda: SignupSurge(kind=SURGE_KIND, at=NOW, detail={"most": 120})),
        *("signup-surge", "raise limits.signups_first"),
    ),
    "sign-ins were rejected": (
        add_rows(lambda: RateLimitCount(scope=SCOPE, tag="wrong password", began=NOW, count=SURGE)),
        *("refused-sign-ins", "Ask your team"),
    ),
    "a warning is refused": (
        add_rows(
            lambda: delivery(purpose="guard:1-a", tries=2, due_at=NOW, next_try_at=NOW + HOUR),
            lambda: QueuedNoticeEmail(delivery="d" * 26, kind="guard", ciphertext=b"c", key_id="k"),
        ),
        *("undelivered-warnings", "audit log"),
    ),
    "an import stopped": (
        add_rows(
            lambda: ImportBatch(
                origin="Mailchimp", file_hash="f", options={}, actor="eve", started_at=NOW, counts={}, reached=0
            )
        ),
        *("unfinished-import", "--abandon 1"),
    ),
    "a release was missed": (
        add_rows(lambda: edition(state=EditionState.APPROVED, approved_at=NOW - 4 * DAY, approved_by="eve")),
        *("missed-release", "digest send 2026-W47"),
    ),
    "a source is dead": (
        add_rows(
            lambda: Source(
                url="https://x.test", name="X", publisher="X", topics=[], health=SourceHealth.REFUSING, tried_at=NOW
            )
        ),
        *("dead-source", "digest sources test"),
    ),
    "the provider's lists were not read": (
        lambda w: w.remember("sendgrid pull trouble", {"troubles": ["403"]}),
        *("suppression-lists", "DIGEST_SENDGRID_API_KEY"),
    ),
    "the provider erases nobody": (
        add_rows(
            lambda: ProviderErasure(
                provider="sendgrid", mark="m", ciphertext=b"c", key_id="k", asked_at=NOW - DAY, tries=2, next_try_at=NOW
            )
        ),
        *("stuck-erasures", "The API key needs Suppressions"),
    ),
    "a deadline is over": (
        add_rows(lambda: edition(release_at=NOW - HOUR, slot=make_release_slot_key(NOW - HOUR))),
        *("missed-deadline", "digest approve"),
    ),
    "sources are not visited": (
        add_rows(lambda: slot(FIRST_LOOK_JOB, NOW - 2 * DAY), lambda: slot("draft", NOW), lambda: slot("nightly", NOW)),
        *("missed-run", "digest serve"),
    ),
    "nothing goes out for weeks": (skip_two_releases, "coming-steps", "digest calendar list"),
    "a send stands still": (
        add_rows(lambda: edition(state=EditionState.SENDING), lambda: delivery(purpose="edition:2026-W47")),
        *("stuck-send", "digest send"),
    ),
    "an edition was sent with refusals": (
        add_rows(lambda: edition(state=EditionState.SENT, refusals=12)),
        *("refusals", "digest refused 2026-W47"),
    ),
    "a backup by the clock failed": (fail_backup, *("missing-backup", "digest backup")),
    "the mail server's log can't be read": (lose_mail_log, "mail-log", "install the unit file it creates"),
    "a heartbeat isn't taken": (lose_heartbeat, "heartbeats", "the server behind it"),
    "backups without a passphrase": (
        change("[limits]", '[backup]\nfolder = "/backups"\n\n[limits]'),
        *("backup-folder", "digest.env, add: DIGEST_BACKUP_PASSPHRASE"),
    ),
    "a backup is missing that could not be made": (block_backup_folder, "missing-backup", "Fix backup-folder first"),
    "a backup folder that is none": (block_backup_folder, "backup-folder", "choose another folder under [backup]"),
    "a section without a source": (
        change('section = "events"', 'section = "news"'),
        "unfed-section",
        "remove the section",
    ),
}
