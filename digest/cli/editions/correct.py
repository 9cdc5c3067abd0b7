"""The `digest correct` command, which corrects an edition after it was sent."""

import click

from digest.app.approval import correction_emails
from digest.app.approval.correction_emails import CorrectionEmailOverview
from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionError, CorrectionForm
from digest.cli.context import CommandContext, flag, pass_command_context, print_lines, yes_option
from digest.cli.editions.group import EXIT_ANSWER_NO
from digest.cli.lazy_group import UnmetPrerequisiteError
from digest.deliver.plan.correction_plan import CorrectionAudience
from digest.edition.archive.corrections import CorrectedField
from subscribers.english_text import count_with_noun


@click.command(
    epilog="""\b
Examples:
  digest correct 2026-W47 --story https://fema.example/maps --headline "New flood maps move 4,100 homes" \\
      --note "We wrote 41,000." --carry
  digest --as priya@news.example correct 2026-W47 --mail 1

The edition's page shows the old text crossed out, with the date and your name. Other pages show the corrected text with the
date, and the feed explains the error. Someone other than the author must approve the email. With --mail, the author requests the
email, and anyone else approves it. Without --story and --mail, the corrections made so far are listed.
Exit codes: 0 done, 1 not confirmed, refused, or waiting for approval, 2 usage error."""
)
@click.argument("edition")
@click.option("--story", metavar="URL", help="URL that the story links to.")
@click.option("--headline", metavar="TEXT", help="Corrected headline.")
@click.option("--summary", metavar="TEXT", help="Corrected summary.")
@click.option("--note", metavar="TEXT", default="", help="Explanation of the error, for subscribers.")
@flag("--carry", help="Include the correction in the next edition, which revokes its approval.")
@click.option(
    "--mail",
    type=int,
    metavar="NUMBER",
    help="Request or approve the email to subscribers who received the error.",
)
@yes_option()
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
    """Correct a text of a sent EDITION in the archive and, if you choose, in the next edition and by email."""
    if mail is not None:
        _mail_correction(context, edition, mail, yes=yes)
    elif story is None:
        _list_corrections(context, edition)
    else:
        field, text = _read_text(headline, summary)
        form = CorrectionForm(story, field, text, note, is_carried=carry)
        correction = corrections.correct_story(
            context.installation, edition, form, actor=context.actor, now=context.now()
        )
        click.echo(f"Correction {correction.seq} is in the archive, signed {correction.signed}.")
        click.echo(
            f"To see who got the error and who must approve an email to them: digest correct {edition} --mail "
            f"{correction.seq}"
        )


def _read_text(headline: str | None, summary: str | None) -> tuple[CorrectedField, str]:
    if (headline is None) == (summary is None):
        raise UnmetPrerequisiteError("Use either --headline or --summary.")
    return ("headline", headline) if headline is not None else ("summary", summary or "")


def _list_corrections(context: CommandContext, edition: str) -> None:
    edition_corrections = corrections.view_corrections(context.installation, edition).corrections
    for correction in edition_corrections:
        waiting = ", email waiting for approval" if correction.mail_asked_at else ""
        mailed = ", emailed" if correction.mail_approved_at else waiting
        click.echo(
            f"{correction.seq}. {correction.at:%Y-%m-%d %H:%M} UTC, {correction.signed}{mailed}: {correction.headline}"
        )
        click.echo(f"   was: {correction.was}\n   is:  {correction.becomes}\n   {correction.note}")
    if not edition_corrections:
        click.echo("No corrections yet. To make one, see 'digest correct --help'.")


def _mail_correction(context: CommandContext, edition: str, number: int, *, yes: bool) -> None:
    """Approve and queue the email of a correction, or request it.

    Exit with 1 if the email still needs an approval.
    """
    installation, actor = context.installation, context.actor
    email = correction_emails.read_correction_email(installation, edition, number)
    if email.is_approved:
        raise CorrectionError(
            f"Correction {number} has already been emailed. Subscribers get each correction only once."
        )
    refusal = email.rule.explain_refusal(actor.name)
    if refusal and email.is_requested:
        raise CorrectionError(refusal)
    audience = correction_emails.count_correction_recipients(installation, edition, number)
    click.echo(f"was: {email.sent}\nis:  {email.correction.becomes}\n{email.correction.note}")
    print_lines((describe_correction_audience(audience), *email.describe(actor.name)))
    if not yes:
        question = _ask(email, actor.name, audience, is_request=bool(refusal))
        click.confirm(question, abort=True)
    if refusal:
        correction_emails.request_correction_email(installation, edition, number, actor=actor, now=context.now())
        click.echo(f"The email was requested but not sent. {refusal}")
        raise SystemExit(EXIT_ANSWER_NO)
    email = correction_emails.approve_correction_email(
        installation, edition, number, email.content_hash, actor=actor, now=context.now()
    )
    if not email.is_approved:
        click.echo("Your approval is recorded, but the correction isn't emailed yet.")
        print_lines(email.describe(actor.name))
        raise SystemExit(EXIT_ANSWER_NO)
    planned = correction_emails.queue_approved_correction_emails(installation, clock=context.now)
    click.echo(f"Queued {count_with_noun(planned.queued, 'email')}. 'digest serve' sends them.")


def _ask(email: CorrectionEmailOverview, actor: str, audience: CorrectionAudience, *, is_request: bool) -> str:
    """Return the question that asks for confirmation and states the number of recipients."""
    count = count_with_noun(audience.recipients, "subscriber")
    if is_request:
        return f"Request the email to {count}? It's only sent once it's approved."
    if email.rule.with_approval(actor).missing:
        return f"Approve the email to {count}? It needs another approval after yours."
    return f"Email the correction to {count}? This can't be undone."


def describe_correction_audience(audience: CorrectionAudience) -> str:
    """Return sentences that say how many emails contained an error."""
    return (
        f"{audience.accepted:,} accepted messages and {audience.uncertain:,} with unknown status contained the error. "
        f"{audience.gone:,} of those subscribers have unsubscribed since. {audience.spared:,} messages didn't contain "
        "the error."
    )
