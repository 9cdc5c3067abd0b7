"""The `digest processing` command, which prints the record of processing based on the settings."""

from collections.abc import Iterator
from dataclasses import asdict

import click

from digest.app.site.processing_record import ProcessingRecord, view_processing_record
from digest.cli.context import CommandContext, json_option, pass_command_context, print_result


@click.command(
    "processing",
    epilog="""\b
Examples:
  digest processing > record-of-processing.txt
  digest processing --json

Exit codes: 0 shown, 2 usage error.""",
)
@json_option("Print the record as JSON.")
@pass_command_context
def print_processing_record(context: CommandContext, as_json: bool) -> None:
    """Print the record of processing required by GDPR Article 30, including who receives email addresses."""
    record = context.act(view_processing_record, now=context.now())
    print_result(asdict(record), _write_record(record), as_json=as_json, indent=2)


def _write_record(record: ProcessingRecord) -> Iterator[str]:
    controller = record.controller
    yield "Record of processing (GDPR Article 30)"
    yield f"\nController: {controller.name}, {controller.postal_address or 'no postal address'}, {controller.contact}, {controller.url}"
    for activity in record.activities:
        yield f"\n{activity.purpose}"
        yield f"  ground  {activity.ground}"
        yield f"  people  {activity.people}"
        yield f"  data    {activity.data}"
        yield f"  kept    {activity.kept}"
    for title, lines in (
        ("Third parties that receive email addresses", record.recipients),
        ("Security measures", record.measures),
        ("Add by hand", record.gaps),
    ):
        yield f"\n{title}"
        yield from (f"  {line}" for line in lines)
