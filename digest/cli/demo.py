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

from digest import weekly
from digest.cli.context import Desk, pass_desk
from digest.collect import visits
from digest.collect.bundled import BundledFetcher
from digest.collect.fetch import Fetcher, open_getter
from digest.collect.fetched import Getter
from digest.collect.readership import import_readership
from digest.db import Media
from digest.delivery_db import DeliveryState
from digest.edition.preflight import Level
from digest.install import Install, clear_home, make_home, opened
from digest.settings import Settings, load
from subscribers import signup
from subscribers.choices import Choices, change_choices
from subscribers.signup import Evidence
from subscribers.vault import Keys

NOW = datetime(
    2026, 11, 19, 22, 30, tzinfo=UTC
)  # Thursday 17:30 in New York: when the sample's week is drafted
BASE = "https://news.example.org"
SEED = b"the bundled sample"  # the demo's keys are no secret: its readers are invented
MARKER = ".digest-demo"
ACTOR = "demo"


@dataclass(frozen=True, slots=True)
class _Told:
    """Where the demo says what it does."""

    console: Console

    def step(self, what: str) -> None:
        self.console.print(what, highlight=False, soft_wrap=True)


@click.command(
    epilog="""\b
Examples:
  digest demo                     the bundled sample week, into ./digest-demo
  digest demo --live              the sources of the settings instead, this week
  digest demo --to /tmp/look

Exit codes: 0 all was written, 1 something stopped it (it says what)."""
)
@click.option(
    "--live", is_flag=True, help="Collect the sources of digest.toml (else the shipped ones) from the world."
)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("digest-demo"),
    show_default=True,
)
@pass_desk
def demo(desk: Desk, live: bool, folder: Path) -> None:
    """Run a whole week into .eml files: collect, draft, render, check, approve, hand over. Nobody is mailed."""
    told = _Told(Console())
    sample = _sample_settings()
    settings = _live_settings(desk, sample) if live else sample
    settings = settings.model_copy(
        update={"home": folder, "base_url": BASE, "mail_url": SecretStr("outbox:")}
    )
    _make_room(folder)
    if settings.origin:  # a copy, so that the desk can be opened on what the demo made
        (folder / "digest.toml").write_text(settings.origin.read_text("utf-8"), "utf-8")
    settings.key_file.write_text(Keys.fixed(SEED).to_json(), "utf-8")
    settings.key_file.chmod(0o600)
    now = datetime.now(UTC) if live else NOW
    with opened(settings) as install:
        getter: Fetcher | BundledFetcher = open_getter(settings) if live else BundledFetcher(_sample())
        with getter:
            _run(install, getter, told, now)


def _sample() -> Traversable:
    return resources.files("digest").joinpath("sample")


def _make_room(folder: Path) -> None:
    """Start from an empty folder, and never clear one that a demo did not make."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise click.ClickException(f"{folder} is not empty and no demo made it. Give another with --to.")
    clear_home(folder)
    make_home(folder)
    (folder / MARKER).write_text("made by 'digest demo'; the next demo clears this folder\n", "utf-8")


def _sample_settings() -> Settings:
    with resources.as_file(_sample().joinpath("digest.toml")) as file:
        return load(file, {})


def _live_settings(desk: Desk, sample: Settings) -> Settings:
    """Take the operator's sources and choices; what only mail to the world needs comes from the sample."""
    settings = desk.settings
    if not settings.file.sources:
        with resources.as_file(resources.files("digest").joinpath("shipped.toml")) as shipped:
            settings = load(shipped, {})
    sender = settings.file.sender
    if not sender.postal_address.strip():
        sender = sender.model_copy(update={"postal_address": sample.file.sender.postal_address})
    file = settings.file.model_copy(update={"sender": sender})
    return settings.model_copy(update={"file": file, "database_url": ""})


def _run(install: Install, getter: Getter, told: _Told, now: datetime) -> None:
    reports = visits.collect(install.database, getter, install.settings, now=now)
    read = [r for r in reports if not r.error]
    told.step(f"Collected {sum(r.new for r in reports)} articles from {len(read)} of {len(reports)} sources.")
    if not read:
        raise click.ClickException(
            f"No source could be reached. The first said: {reports[0].error if reports else 'there is none'}"
        )
    import_readership(install.database, getter, install.settings, now=now)
    drafted = weekly.draft(install, now=now, actor=ACTOR, getter=getter)
    told.step(
        f"Drafted {drafted.name}, No. {drafted.number}: {sum(map(len, drafted.choice.sections.values()))} stories."
    )
    added = _add_readers(install, now)
    told.step(f"Added {added} sample readers, each with a consent event.")
    _check(install, drafted.name, told)
    mark = weekly.standing(install, drafted.name, now=now).mark
    weekly.approve(install, drafted.name, mark, actor=ACTOR, now=now)
    books = weekly.send(install, drafted.name, clock=lambda: max(now, drafted.release_at)).books
    told.step(
        f"Approved as {mark[:7]} and handed over: {books[DeliveryState.ACCEPTED]} messages, {books[DeliveryState.SKIPPED]} skipped by choice."
    )
    copy = _write_web_copy(install, drafted.name)
    told.step("")
    told.step(f"Mail:      {install.settings.outbox / 'edition'}/*.eml   (open one in any mail program)")
    told.step(f"Web copy:  {copy}   (open it in a browser)")
    told.step("Desk, on http://127.0.0.1:8025/desk/ once this runs:")
    places = f"DIGEST_HOME={install.settings.home} DIGEST_BASE_URL={BASE}"
    told.step(
        f"  {places} {sys.argv[0]} --settings {install.settings.home / 'digest.toml'} serve --no-timetable"
    )


def _check(install: Install, name: str, told: _Told) -> None:
    findings = weekly.preflight(install, name)
    errors = [f for f in findings if f.level == Level.ERROR]
    for f in findings:
        told.step(f"  {f.level} {f.rule}: {f.message}")
    if errors:
        raise click.ClickException(f"{name} does not pass preflight: {len(errors)} error(s).")
    told.step(f"Checked: no rule fails, {len(findings)} warning(s).")


def _add_readers(install: Install, now: datetime) -> int:
    """Put the sample's invented readers on the roll, each with evidence; they are invented by us, and say so."""
    rows = list(csv.DictReader(io.StringIO(_sample().joinpath("readers.csv").read_text("utf-8"))))
    with install.database.write() as session:
        for row in rows:
            evidence = Evidence(
                wording="Send me the weekly digest. (An invented reader of the bundled sample.)",
                wording_version="sample",
                language="en",
                page=row["asked_where"],
                method="bundled sample",
                actor=ACTOR,
                at=datetime.fromisoformat(row["asked_at"]).astimezone(UTC),
            )
            added = signup.add(session, install.keys, row["address"], evidence=evidence, now=now)
            change_choices(session, added.number, Choices.from_json(json.loads(row["choices"] or "{}")), now)
    return len(rows)


def _write_web_copy(install: Install, name: str) -> Path:
    """Write the web copy with its pictures beside it, so that it can be looked at without a server."""
    folder = install.settings.home / "web"
    (folder / "media").mkdir(parents=True)
    html = weekly.shown(install, name, "web").decode()
    with install.database.read() as session:
        for media in session.scalars(select(Media)):
            address = f"{install.settings.base}/media/{media.hash}"
            if address in html:
                file = f"media/{media.hash}.{media.content_type.partition('/')[2]}"
                (folder / file).write_bytes(media.body)
                html = html.replace(address, file)
    copy = folder / f"{name}.html"
    copy.write_text(html, "utf-8")
    return copy
