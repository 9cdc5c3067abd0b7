"""`digest demo`: the whole week on the bundled sample, into files, in one go and with the same bytes everywhere."""

import csv
import io
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import select

from digest.app import editions, sending
from digest.app.actor import Actor, Face, Role
from digest.app.installation import Installation, create_home_folder, delete_home_folder, open_installation
from digest.cli.context import CommandContext, pass_command_context
from digest.collect import collection_run
from digest.collect.fetch.bundled_fetcher import BundledFetcher
from digest.collect.fetch.fetcher import HttpFetcher, open_fetcher
from digest.collect.fetch.result import ContentFetcher
from digest.collect.readership import import_readership
from digest.edition.preflight import FindingLevel
from digest.settings import Settings, load_settings
from digest.store.delivery_models import DeliveryState
from digest.store.models import MediaFile
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence

SAMPLE_NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)  # Thursday 17:30 in New York: when the sample's week is drafted
SAMPLE_BASE_URL = "https://news.example.org"
SAMPLE_KEY_SEED = b"the bundled sample"  # the demo's keys are no secret: its readers are invented
DEMO_MARKER = ".digest-demo"
DEMO_ACTOR = Actor("demo", Role.ADMIN, Face.TERMINAL)


@dataclass(frozen=True, slots=True)
class _DemoOutput:
    """Where the demo says what it does."""

    console: Console

    def print_step(self, message: str) -> None:
        self.console.print(message, highlight=False, soft_wrap=True)


@click.command(
    epilog="""\b
Examples:
  digest demo                     the bundled sample week, into ./digest-demo
  digest demo --live              the sources of the settings instead, this week
  digest demo --to /tmp/look

Exit codes: 0 all was written, 1 something stopped it (it says what)."""
)
@click.option("--live", is_flag=True, help="Collect the sources of digest.toml (else the shipped ones) from the world.")
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("digest-demo"), show_default=True
)
@pass_command_context
def demo(desk: CommandContext, live: bool, folder: Path) -> None:
    """Run a whole week into .eml files: collect, draft, render, check, approve, hand over. Nobody is mailed."""
    told = _DemoOutput(Console())
    sample = _sample_settings()
    settings = _live_settings(desk, sample) if live else sample
    settings = settings.model_copy(
        update={"home": folder, "base_url": SAMPLE_BASE_URL, "mail_url": SecretStr("outbox:")}
    )
    _prepare_folder(folder)
    if settings.origin:  # a copy, so that the desk can be opened on what the demo made
        (folder / "digest.toml").write_text(settings.origin.read_text("utf-8"), "utf-8")
    settings.key_file.write_text(KeyRing.from_seed(SAMPLE_KEY_SEED).to_json(), "utf-8")
    settings.key_file.chmod(0o600)
    now = datetime.now(UTC) if live else SAMPLE_NOW
    with open_installation(settings) as install:
        getter: HttpFetcher | BundledFetcher = open_fetcher(settings) if live else BundledFetcher(_sample_folder())
        with getter:
            _run_week(install, getter, told, now)


def _sample_folder() -> Traversable:
    return resources.files("digest").joinpath("sample")


def _prepare_folder(folder: Path) -> None:
    """Start from an empty folder, and never clear one that a demo did not make."""
    if folder.exists() and any(folder.iterdir()) and not (folder / DEMO_MARKER).exists():
        raise click.ClickException(f"{folder} is not empty and no demo made it. Give another with --to.")
    delete_home_folder(folder)
    create_home_folder(folder)
    (folder / DEMO_MARKER).write_text("made by 'digest demo'; the next demo clears this folder\n", "utf-8")


def _sample_settings() -> Settings:
    with resources.as_file(_sample_folder().joinpath("digest.toml")) as file:
        return load_settings(file, {})


def _live_settings(context: CommandContext, sample: Settings) -> Settings:
    """Take the operator's sources and choices; what only mail to the world needs comes from the sample."""
    settings = context.settings
    if not settings.file.sources:
        with resources.as_file(resources.files("digest").joinpath("shipped.toml")) as shipped:
            settings = load_settings(shipped, {})
    sender = settings.file.sender
    if not sender.postal_address.strip():
        sender = sender.model_copy(update={"postal_address": sample.file.sender.postal_address})
    file = settings.file.model_copy(update={"sender": sender})
    return settings.model_copy(update={"file": file, "database_url": ""})


def _run_week(install: Installation, getter: ContentFetcher, output: _DemoOutput, now: datetime) -> None:
    reports = collection_run.collect_sources(install.database, getter, install.settings, now=now)
    read = [r for r in reports if not r.error]
    output.print_step(f"Collected {sum(r.new for r in reports)} articles from {len(read)} of {len(reports)} sources.")
    if not read:
        raise click.ClickException(
            f"No source could be reached. The first said: {reports[0].error if reports else 'there is none'}"
        )
    import_readership(install.database, getter, install.settings, now=now)
    drafted = editions.draft_next_edition(install, now=now, actor=DEMO_ACTOR, fetcher=getter)
    output.print_step(
        f"Drafted {drafted.name}, No. {drafted.number}: {sum(map(len, drafted.proposal.sections.values()))} stories."
    )
    added = _add_sample_readers(install, now)
    output.print_step(f"Added {added} sample readers, each with a consent event.")
    _check_edition(install, drafted.name, output)
    mark = editions.edition_status(install, drafted.name, now=now).content_hash
    editions.approve_edition(install, drafted.name, mark, actor=DEMO_ACTOR, now=now)
    books = sending.send_edition(
        install, drafted.name, actor=DEMO_ACTOR, clock=lambda: max(now, drafted.release_at)
    ).delivery_counts
    output.print_step(
        f"Approved as {mark[:7]} and handed over: {books[DeliveryState.ACCEPTED]} messages, {books[DeliveryState.SKIPPED]} skipped by choice."
    )
    copy = _write_web_copy(install, drafted.name)
    output.print_step("")
    output.print_step(f"Mail:      {install.settings.outbox_folder / 'edition'}/*.eml   (open one in any mail program)")
    output.print_step(f"Web copy:  {copy}   (open it in a browser)")
    output.print_step("Desk, on http://127.0.0.1:8025/desk/ once this runs:")
    places = f"DIGEST_HOME={install.settings.home} DIGEST_BASE_URL={SAMPLE_BASE_URL}"
    output.print_step(
        f"  {places} {sys.argv[0]} --settings {install.settings.home / 'digest.toml'} serve --no-timetable"
    )


def _check_edition(install: Installation, name: str, output: _DemoOutput) -> None:
    findings = editions.check_edition(install, name)
    errors = [f for f in findings if f.level == FindingLevel.ERROR]
    for f in findings:
        output.print_step(f"  {f.level} {f.rule}: {f.message}")
    if errors:
        raise click.ClickException(f"{name} does not pass preflight: {len(errors)} error(s).")
    output.print_step(f"Checked: no rule fails, {len(findings)} warning(s).")


def _add_sample_readers(install: Installation, now: datetime) -> int:
    """Put the sample's invented readers on the roll, each with evidence; they are invented by us, and say so."""
    rows = list(csv.DictReader(io.StringIO(_sample_folder().joinpath("readers.csv").read_text("utf-8"))))
    with install.database.write() as session:
        for row in rows:
            evidence = ConsentEvidence(
                wording="Send me the weekly digest. (An invented reader of the bundled sample.)",
                wording_version="sample",
                language="en",
                page=row["asked_where"],
                method="bundled sample",
                actor=DEMO_ACTOR.name,
                agreed_at=datetime.fromisoformat(row["asked_at"]).astimezone(UTC),
            )
            added = manual_signup.add_subscriber(session, install.keys, row["address"], evidence=evidence, now=now)
            change_preferences(session, added.number, Preferences.from_json(json.loads(row["choices"] or "{}")), now)
    return len(rows)


def _write_web_copy(install: Installation, name: str) -> Path:
    """Write the web copy with its pictures beside it, so that it can be looked at without a server."""
    folder = install.settings.home / "web"
    (folder / "media").mkdir(parents=True)
    html = editions.edition_bytes(install, name, "web").decode()
    with install.database.read() as session:
        for media in session.scalars(select(MediaFile)):
            address = f"{install.settings.link_base}/media/{media.hash}"
            if address in html:
                file = f"media/{media.hash}.{media.content_type.partition('/')[2]}"
                (folder / file).write_bytes(media.body)
                html = html.replace(address, file)
    copy = folder / f"{name}.html"
    copy.write_text(html, "utf-8")
    return copy
