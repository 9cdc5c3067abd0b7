"""The `digest init`, `digest doctor`, and `digest serve` commands.

They create, check, and serve an installation.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import click

from digest import __version__, logs
from digest.app.accounts.sign_in import make_sign_in_link
from digest.app.accounts.staff import read_staff_role
from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import (
    diagnose_open_failure,
    drop_consequences,
    explain_zone_file_format,
    run_local_checks,
    run_online_checks,
)
from digest.app.doctor.network_access import NetworkAccess
from digest.app.doctor.received_message import MAX_MESSAGE_BYTES, ReceivedMessage, examine_message, restore_line_endings
from digest.app.jobs import JobContext
from digest.cli.context import (
    FILE_PATH,
    CommandContext,
    drop_root_privileges,
    flag,
    json_option,
    pass_command_context,
    print_result,
)
from digest.cli.terminal import show_progress
from digest.cli.upkeep.keys import print_recovery_copy
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.opened_installation import InstallationError, create_key_file, open_installation
from digest.installation.storage_errors import StorageError
from digest.settings import (
    SETTINGS_FILE_NAME,
    ExposedSettingsError,
    Settings,
    SettingsError,
    is_loopback,
    load_settings,
)
from digest.stop_signals import stop_on_signal
from digest.store.engine import UnsupportedSchemaError
from digest.web.app import create_app
from digest.web.server import open_page_server as serve_app
from subscribers.garbage_collection import freeze_long_lived_objects, limit_memory_arenas

DNS_PORT = 53  # RFC 1035, section 4.2


@click.command(
    epilog="""\b
Examples:
  digest init
  DIGEST_HOME=/srv/digest digest init

Exit codes: 0 done, 2 not possible."""
)
@click.option(
    "--file",
    "target",
    type=FILE_PATH,
    help=f"Settings file to write. [default: --settings or DIGEST_SETTINGS, else {SETTINGS_FILE_NAME}]",
)
@pass_command_context
def init(context: CommandContext, target: Path | None) -> None:
    """Create a settings file, keys, and an empty database. Existing ones aren't changed."""
    target = target or context.settings_file or Path(os.environ.get("DIGEST_SETTINGS") or SETTINGS_FILE_NAME)
    drop_root_privileges(target.parent)
    if target.exists():
        click.echo(f"{target} already exists and wasn't changed")
    else:
        target.write_text(resources.files("digest").joinpath("shipped.toml").read_text("utf-8"), "utf-8")
        click.echo(f"Created {target} with homeland-security news sources. Edit sender and publication first")
    settings = load_settings(target)
    with open_installation(settings, may_create=True) as installation:
        new_keys = create_key_file(installation)
    print_recovery_copy(settings.key_file, new_keys.to_json() if new_keys else None)
    click.echo(
        f"{settings.home}: the database is ready\nBefore an edition can be approved, set sender.postal_address in "
        "digest.toml and an https URL\nin DIGEST_BASE_URL. 'digest doctor' shows what's missing.\nNext: 'digest staff "
        "add EMAIL --role admin', 'digest collect', 'digest draft', 'digest serve'."
    )


@click.command(
    epilog="""\b
Examples:
  digest doctor
  digest doctor --online --json
  digest doctor received.eml --online --trust mx.google.com

For details of each check, see docs/doctor.md. Exit codes: 0 no errors, 1 errors, 2 the checks couldn't run."""
)
@click.argument("message", required=False, type=click.File("rb"))
@click.option(
    "--trust",
    "trusted_server",
    metavar="NAME",
    default="",
    help="With MESSAGE, the name your mail server uses in Authentication-Results.",
)
@flag("--online", "is_online", help="Also check DNS, mail servers, the email provider, and your public pages.")
@click.option(
    "--name-server",
    metavar="ADDRESS[:PORT]",
    help="Use this name server instead of the system's.",
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
    """Check the installation for problems (settings, keys, database, disk, and email).

    With MESSAGE, check a received email instead (a file with all headers, or - for standard input).
    """
    server = _parse_name_server(name_server) if name_server else None
    world = NetworkAccess(server) if is_online else None
    if message is not None:
        raw = restore_line_endings(message.read(MAX_MESSAGE_BYTES + 1))
        findings = examine_message(ReceivedMessage(raw, context.settings, world, trusted_server))
    else:
        findings = _examine_installation(context, world)
    counts = Counter(finding.level for finding in findings)
    summary = {"version": __version__, "errors": counts["error"], "warnings": counts["warning"]}
    fields = ("check", "level", "message", "remedy")
    result = summary | {"findings": [{name: getattr(finding, name) for name in fields} for finding in findings]}
    print_result(result, _describe_findings(findings), as_json=as_json, indent=2)
    if counts["error"]:
        raise SystemExit(1)


def _describe_findings(findings: Sequence[DoctorFinding]) -> Iterator[str]:
    yield from (f"{finding.level:7} {finding.check}: {finding.sentence}" for finding in findings)
    if note := explain_zone_file_format(findings):
        yield note


def _examine_installation(context: CommandContext, world: NetworkAccess | None) -> list[DoctorFinding]:
    """Check the installation, or explain why it can't be opened.

    With `world`, also run the online checks, and show their progress.
    """
    user = os.geteuid()
    try:
        installation = context.installation_without_upgrade
        if os.geteuid() != user:  # the folder's owner, who may not be able to read what root did
            load_settings(context.settings_file, may_be_exposed=True)
    except ExposedSettingsError:  # one of the checks reports this
        context.load_exposed_settings()
        return _examine_installation(context, world)
    except SettingsError as exc:
        return diagnose_open_failure(exc, None)
    except (InstallationError, UnsupportedSchemaError, StorageError) as exc:
        return diagnose_open_failure(exc, context.settings)
    except PermissionError as exc:
        return diagnose_open_failure(InstallationError(f"Can't open {exc.filename}: {exc.strerror}."), context.settings)
    findings = run_local_checks(installation)
    if world is not None:
        with show_progress("Running online checks") as progress:
            findings += run_online_checks(ExaminedInstallation(installation, outside=world), progress=progress)
    return drop_consequences(findings)


def _parse_name_server(text: str) -> tuple[str, int]:
    """Parse the IP address and the port of a name server.

    Raises:
        click.BadParameter: the text isn't a valid address or port.
    """
    address, port = text, str(DNS_PORT)
    if text.count(":") == 1:
        address, port = text.split(":")
    try:
        return str(ip_address(address)), int(port)
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} isn't the IP address of a name server, such as 192.0.2.53 or 192.0.2.53:5300."
        ) from exc


@click.command(
    epilog="""\b
Examples:
  digest serve                        pages and scheduled jobs on http://localhost:8025
  digest serve --port 9000 --no-schedule

Exit codes: 0 stopped by Ctrl+C or SIGTERM after finishing current messages, 1 the port is in use."""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8025,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on. Links use it if DIGEST_BASE_URL isn't set.",
)
@click.option("--schedule/--no-schedule", default=True, help="Run scheduled jobs in this process. [default: yes]")
@click.option(
    "--sign-in",
    "emails",
    metavar="EMAIL",
    multiple=True,
    help="Print a one-time sign-in link for this team member. Repeatable.",
)
@pass_command_context
def serve(context: CommandContext, host: str, port: int, schedule: bool, emails: tuple[str, ...]) -> None:
    """Serve the public, editor, and admin pages, and run scheduled jobs, until stopped."""
    from scheduler import JobScheduler  # the only upward import, because serving also starts the scheduler

    logs.configure_logging(log_format=context.settings.log_format)
    limit_memory_arenas()  # before any other thread runs
    use_port_in_links(context, port)
    installation = context.installation
    links = make_sign_in_links(context, emails)
    app = create_app(installation)
    try:
        serving = serve_app(app, host, port)
    except OSError as exc:
        raise click.ClickException(
            f"Can't listen on {host}:{port}: {exc.strerror}. Choose another port with --port."
        ) from exc
    with stop_on_signal() as stopping, serving:
        context_of_jobs = JobContext(installation, stopping=stopping)
        scheduler = JobScheduler(context_of_jobs) if schedule else JobScheduler.for_pages(context_of_jobs)
        scheduler.start()
        freeze_long_lived_objects()
        click.echo(f"Serving http://{host}:{serving.port}/ (editors: /desk/). Press Ctrl+C to stop.")
        for member, link in links:
            click.echo(f"This link signs in {member} once, within an hour:\n{_local_link(link, serving.port)}")
        stopping.wait()
        click.echo("Stopping. Messages being sent are finished first.", err=True)
        scheduler.stop()


def make_sign_in_links(context: CommandContext, emails: Sequence[str]) -> list[tuple[str, str]]:
    """Create a one-time sign-in link for each staff member.

    Return a list of (role and address, link).
    """
    links = [context.act(make_sign_in_link, email, now=context.now()) for email in emails]
    roles = [context.act(read_staff_role, email, now=context.now()) for email in emails]
    return [(f"the {role} {email}", link) for role, email, link in zip(roles, emails, links, strict=True)]


def use_port_in_links(context: CommandContext, port: int) -> None:
    """Use the served port in links if the base URL is the default.

    The URL is set in the environment, so that it also applies to child processes and when settings
    are reloaded.
    """
    default = Settings.model_fields["base_url"].default
    if port and context.settings.base_url == default:
        vars(context).pop("settings")  # they're read again below
        os.environ["DIGEST_BASE_URL"] = urlsplit(default)._replace(netloc=f"localhost:{port}").geturl()


def _local_link(link: str, port: int) -> str:
    """Return a loopback link with the served port.

    Other links are returned unchanged, because a proxy forwards them.
    """
    parts = urlsplit(link)
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl() if is_loopback(parts.hostname or "") else link
