"""What several commands share: a person's address, a reason, and the words before a refusal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from digest.cli.lazy_group import CommandRefusedError
from subscribers.address import Address, read_address
from subscribers.errors import ApplicationError


def check_reason(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Check a reason: it stands in chains, disclosures and the audit log, which hold no reader's address."""
    if text is not None and ("@" in text or not text.strip() or len(text) > 150):
        raise click.BadParameter("write a few words (at most 150 characters), with no address among them")
    return text


because_option = click.option(
    "--because", callback=check_reason, help="Why, in a few words: it is shown, and stands in the audit log."
)


@contextmanager
def label_refusals(label: str) -> Iterator[None]:
    """Begin the message of every refusal in the block with what was not done."""
    try:
        yield
    except ApplicationError as exc:
        if not exc.is_refusal:
            raise
        raise CommandRefusedError(f"{label}: {exc}") from exc


def read_email_argument(email: str) -> Address:
    """Read the address that a command got; `-` takes it from standard input.

    Raises:
        CommandRefusedError: it is no address.
    """
    with label_refusals("Not done"):
        return read_address(sys.stdin.readline() if email == "-" else email)
