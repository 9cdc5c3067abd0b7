"""The command that corrects an edition which went out."""

import click

from digest.app import corrections
from digest.app.corrections import CorrectionError, CorrectionForm, CorrectionRecipients
from digest.cli.context import CommandContext, pass_command_context
from digest.cli.lazy_group import CorrectableError
from digest.edition.corrections import CorrectedField


@click.command(
    epilog="""\b
Examples:
  digest correct 2026-W47 --story https://fema.example/maps --headline "New flood maps move 4,100 homes" \\
      --note "We wrote 41,000." --carry
  digest correct 2026-W47 --mail 1

On the edition's page the old text stays, struck through, with the date and your name; elsewhere the right text stands with
the date, and the feed says what was wrong. Without --story and
--mail the corrections made so far are listed. Exit codes: 0 done, 1 not confirmed or refused, 2 wrong use."""
)
@click.argument("edition")
@click.option("--story", metavar="URL", help="The story, by its link in the edition.")
@click.option("--headline", metavar="TEXT", help="How its headline should read.")
@click.option("--summary", metavar="TEXT", help="How its summary should read.")
@click.option("--note", metavar="TEXT", default="", help="What was wrong, for readers.")
@click.option(
    "--carry", is_flag=True, help="Say it in the next edition too. One that is approved becomes a draft again by it."
)
@click.option("--mail", type=int, metavar="NUMBER", help="Mail a correction to exactly those who got the error.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_command_context
def correct(
    context: CommandContext,
    edition: str,
    story: str | None,
    headline: str | None,
    summary: str | None,
    note: str,
    carry: bool,
    mail: int | None,
    yes: bool,
) -> None:
    """Correct a text of an EDITION that went out: in the archive, in the next edition, by mail to who got it."""
    if mail is not None:
        _mail_correction(context, edition, mail, yes=yes)
    elif story is None:
        _list_corrections(context, edition)
    else:
        field, text = _read_text(headline, summary)
        form = CorrectionForm(story, field, text, note, is_carried=carry)
        made = corrections.correct_story(context.installation, edition, form, actor=context.actor, now=context.now())
        click.echo(f"Correction {made.seq} stands in the archive, signed {made.signed}.")
        click.echo(f"'digest correct {edition} --mail {made.seq}' says who got the error, and mails it to them.")


def _read_text(headline: str | None, summary: str | None) -> tuple[CorrectedField, str]:
    if (headline is None) == (summary is None):
        raise CorrectableError("Give one of --headline and --summary: how it should read.")
    return ("headline", headline) if headline is not None else ("summary", summary or "")


def _list_corrections(context: CommandContext, edition: str) -> None:
    made = corrections.view_corrections(context.installation, edition).corrections
    for correction in made:
        mailed = ", mailed" if correction.mail_asked_at else ""
        click.echo(
            f"{correction.seq}. {correction.at:%Y-%m-%d %H:%M} UTC, {correction.signed}{mailed}: {correction.headline}"
        )
        click.echo(f"   was: {correction.was}\n   is:  {correction.becomes}\n   {correction.note}")
    if not made:
        click.echo("Nothing was corrected. 'digest correct --help' shows how.")


def _mail_correction(context: CommandContext, edition: str, number: int, *, yes: bool) -> None:
    installation, now = context.installation, context.now()
    counted = corrections.count_recipients(installation, edition, number)
    if counted.correction.mail_asked_at is not None:
        raise CorrectionError(f"Correction {number} was mailed before: each who got the error gets it once.")
    click.echo(describe_recipients(counted))
    if not yes:
        click.confirm(
            f"Mail the correction to {counted.audience.recipients:,} readers? This can't be undone.", abort=True
        )
    corrections.mail_correction(installation, edition, number, actor=context.actor, now=now)
    queued = corrections.plan_correction_mails(installation, clock=context.now)
    click.echo(f"{queued:,} mails are queued; 'digest serve' hands them over.")


def describe_recipients(counted: CorrectionRecipients) -> str:
    """Say in a sentence who got an error."""
    got = counted.audience
    return (
        f"{got.accepted:,} accepted and {got.uncertain:,} uncertain messages held the error; "
        f"{got.gone:,} of those readers have left since. {got.spared:,} messages did not hold it."
    )
