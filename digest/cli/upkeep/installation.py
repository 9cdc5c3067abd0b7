"""The commands that set an installation up, look after it and serve it: init, doctor, serve."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import click

from digest import logs
from digest.app.accounts.sign_in import make_sign_in_link
from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import (
    examine_installation,
    examine_outside,
    explain_closed_installation,
    explain_dns_lines,
    refer_to_first,
)
from digest.app.doctor.outside_world import OutsideWorld
from digest.app.doctor.received_message import MAX_MESSAGE_BYTES, ReceivedMessage, examine_message, restore_line_ends
from digest.app.jobs import JobContext
from digest.cli.context import FILE_PATH, CommandContext, flag, json_option, pass_command_context, print_answer
from digest.cli.terminal import show_progress
from digest.cli.upkeep.keys import show_new_keys
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.opened import InstallationError, create_key_file, open_installation
from digest.long_lived import set_long_lived_aside
from digest.settings import SETTINGS_FILE_NAME, SettingsError, is_loopback, load_settings
from digest.stop_signals import stop_on_signal
from digest.web.app import create_app
from digest.web.server import open_page_server as serve_app

DNS_PORT = 53  # RFC 1035, section 4.2


@click.command(
    epilog="""\b
Examples:
  digest init
  DIGEST_HOME=/srv/digest digest init

Exit codes: 0 all is there, 2 something stands in the way (it says what)."""
)
@click.option(
    "--file",
    "target",
    type=FILE_PATH,
    help=f"The settings file to write; by default what --settings or DIGEST_SETTINGS names, else {SETTINGS_FILE_NAME}.",
)
@pass_command_context
def init(context: CommandContext, target: Path | None) -> None:
    """Write a settings file, the keys and an empty database. What is there already is left as it is."""
    target = target or context.settings_file or Path(os.environ.get("DIGEST_SETTINGS") or SETTINGS_FILE_NAME)
    if target.exists():
        click.echo(f"{target}: there already, left as it is")
    else:
        target.write_text(resources.files("digest").joinpath("shipped.toml").read_text("utf-8"), "utf-8")
        click.echo(
            f"{target}: written, with the sources of homeland-security news; change sender and publication first"
        )
    settings = load_settings(target)
    with open_installation(settings, may_create=True) as installation:
        new_keys = create_key_file(installation)
    show_new_keys(settings.key_file, new_keys.to_json() if new_keys else None)
    click.echo(
        f"{settings.home}: the database is ready\n"
        "Before an edition can be approved, digest.toml needs sender.postal_address, and the links of the mail\n"
        "an https address in DIGEST_BASE_URL; 'digest doctor' says what is missing.\n"
        "Next: 'digest staff add EMAIL --role admin', 'digest collect', 'digest draft', 'digest serve'."
    )


@click.command(
    epilog="""\b
Examples:
  digest doctor
  digest doctor --online --json
  digest doctor received.eml --online --trust mx.google.com

Every check is explained in docs/doctor.md. Exit codes: 0 nothing must be mended, 1 something must be (an error), 2 it
could not look."""
)
@click.argument("message", required=False, type=click.File("rb"))
@click.option(
    "--trust",
    "trusted_server",
    metavar="NAME",
    default="",
    help="With MESSAGE: your receiver's name in Authentication-Results; others' results are left out.",
)
@flag("--online", "is_online", help="Ask outside too: the DNS, mail servers, the provider, your own pages.")
@click.option(
    "--name-server",
    metavar="ADDRESS[:PORT]",
    help="Ask this name server in place of the system's: one that knows of a change before others do.",
)
@json_option("Print the findings as JSON.")
@pass_command_context
def doctor(
    context: CommandContext,
    message: IO[bytes] | None,
    trusted_server: str,
    is_online: bool,
    name_server: str | None,
    as_json: bool,
) -> None:
    """Look for what would go wrong: names, settings, keys, database, disk, sending to the world.

    With MESSAGE look at a message as it arrived (a file of it with all its headers, or - for standard input) instead.
    """
    server = _parse_name_server(name_server) if name_server else None
    world = OutsideWorld(server) if is_online else None
    if message is not None:
        raw = restore_line_ends(message.read(MAX_MESSAGE_BYTES + 1))
        findings = examine_message(ReceivedMessage(raw, context.settings, world, trusted_server))
    else:
        findings = _examine_installation(context, world)
    counts = Counter(finding.level for finding in findings)
    summary = {"errors": counts["error"], "warnings": counts["warning"]}
    found = summary | {"findings": [asdict(finding) for finding in findings]}
    print_answer(found, _describe_findings(findings), as_json=as_json, indent=2)
    if counts["error"]:
        raise SystemExit(1)


def _describe_findings(findings: Sequence[DoctorFinding]) -> Iterator[str]:
    yield from (f"{finding.level:7} {finding.check}: {finding.sentence}" for finding in findings)
    if note := explain_dns_lines(findings):
        yield note


def _examine_installation(context: CommandContext, world: OutsideWorld | None) -> list[DoctorFinding]:
    """Examine the installation, or what keeps it closed; with a world ask that too, and show how far it is."""
    try:
        installation = context.installation_as_it_is
    except (SettingsError, InstallationError) as exc:
        return explain_closed_installation(exc)
    findings = examine_installation(installation)
    if world is not None:
        with show_progress("Asking outside") as progress:
            findings += examine_outside(ExaminedInstallation(installation, outside=world), progress=progress)
    return refer_to_first(findings)


def _parse_name_server(text: str) -> tuple[str, int]:
    """Read the number of a name server, and its port.

    Raises:
        click.BadParameter: it is none.
    """
    address, port = text, str(DNS_PORT)
    if text.count(":") == 1:
        address, port = text.split(":")
    try:
        return str(ip_address(address)), int(port)
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} is no address of a name server; write one such as 192.0.2.53 or 192.0.2.53:5300"
        ) from exc


@click.command(
    epilog="""\b
Examples:
  digest serve                        pages, desk and timetable on http://localhost:8025
  digest serve --port 9000 --no-timetable

Exit codes: 0 stopped by Ctrl+C or SIGTERM, with nothing left in the air; 1 the port is taken."""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8025, show_default=True, type=click.IntRange(0, 65535))
@click.option("--timetable/--no-timetable", default=True, help="Follow the timetable in this process too.")
@click.option(
    "--sign-in",
    "emails",
    metavar="EMAIL",
    multiple=True,
    help="Print a link that signs this member of the staff in once; may be given several times.",
)
@pass_command_context
def serve(context: CommandContext, host: str, port: int, timetable: bool, emails: tuple[str, ...]) -> None:
    """Serve pages and desk, and follow the timetable, until stopped. The desk asks everybody to sign in."""
    from scheduler import JobScheduler  # the one upward import: serving starts the timetable beside the pages

    logs.configure_logging(log_format=context.settings.log_format)
    installation = context.installation
    links = [make_sign_in_link(installation, context.actor, email, now=context.now()) for email in emails]
    app = create_app(installation)
    try:
        serving = serve_app(app, host, port)
    except OSError as exc:
        raise click.ClickException(
            f"{host}:{port} can't be listened on ({exc.strerror}). Give another with --port."
        ) from exc
    context_of_jobs = JobContext(installation)
    clockwork = JobScheduler(context_of_jobs) if timetable else JobScheduler.for_pages(context_of_jobs)
    with stop_on_signal() as stopping, serving:
        clockwork.start()
        set_long_lived_aside()
        click.echo(f"Pages on http://{host}:{serving.port}/, the desk on /desk/. Stop with Ctrl+C.")
        for email, link in zip(emails, links, strict=True):
            click.echo(f"This signs {email} in, once, within an hour:\n{_local_link(link, serving.port)}")
        stopping.wait()
        click.echo("Stopping: what is being handed over ends first.", err=True)
        clockwork.stop()


def _local_link(link: str, port: int) -> str:
    """Return a link of this machine with the port that is served; another machine's as it is, for a proxy leads here."""
    parts = urlsplit(link)
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl() if is_loopback(parts.hostname or "") else link
