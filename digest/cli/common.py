"""What the commands about people share: who is meant, why, and the line in the audit log."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.orm import Session

from digest.cli.context import CommandContext
from digest.store.models import AuditEntry
from subscribers.address import Address, AddressError, read_address


class CommandRefusedError(click.ClickException):
    """It cannot be done, and what stands in the way can be mended; the message never holds an address."""

    exit_code = 1


def check_reason(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Check a reason: it stands in chains, disclosures and the audit log, which hold no reader's address."""
    if text is not None and ("@" in text or not text.strip() or len(text) > 150):
        raise click.BadParameter("write a few words (at most 150 characters), with no address among them")
    return text


def read_email_argument(email: str) -> Address:
    """Read the address that a command got; `-` takes it from standard input.

    Raises:
        CommandRefusedError: it is no address.
    """
    try:
        return read_address(sys.stdin.readline() if email == "-" else email)
    except AddressError as exc:
        raise CommandRefusedError(f"Not done: {exc}") from None


def record_audit(session: Session, context: CommandContext, act: str, subject: str, detail: dict[str, Any]) -> None:
    """Write down who did what."""
    session.add(AuditEntry(at=datetime.now(UTC), actor=context.actor.name, act=act, subject=subject, detail=detail))
