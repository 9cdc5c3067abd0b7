"""Imports and exports of the list, re-permission emails, and suppressions pulled from the provider."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, AnyStr, TextIO

from digest.app.subscribers.consent_texts import build_consent_text
from digest.app.subscribers.running_imports import is_import_running, mark_import_running
from digest.app.subscribers.upload_files import create_private_file, make_safe_file_name, prepare_readable_list
from digest.deliver.providers.kind import SuppressionPullResult
from digest.deliver.providers.registry import find_suppression_lists
from digest.deliver.send.refusals.refused_deliveries import map_tags_to_domain_names
from digest.edition.part_titles import list_part_titles
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.store.engine import open_database
from subscribers.callback_types import Progress
from subscribers.consent.subscriber_list import SubscriberFilter
from subscribers.errors import RefusalError
from subscribers.part_keys import slugify_topic, split_part_key
from subscribers.signup import permission_requests
from subscribers.transfer import exports, import_batches, imports
from subscribers.transfer.decisions import RowOutcome, RowReason
from subscribers.transfer.import_report import ImportReport, RejectCallback, ignore_reject
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.import_undo import UndoResult, abandon_batch, count_batch_people
from subscribers.transfer.list_file import FileSurvey, read_headings, survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.outcome_file import OutcomeFile, read_outcomes, write_outcomes
from subscribers.transfer.spreadsheet_csv import SpreadsheetCsvWriter

IMPORT = Action("list imported")
ABANDON = Action("import abandoned")
EXPORT = Action("list exported")
ASK = Action("people re-asked")
PULL = Action("suppressions pulled")

_PIECE_SIZE = 1 << 16
MAX_SHOWN_IMPORTS = 20
MAX_NAMED_PEOPLE = 100  # people listed in an audit row


class UnknownImportError(RefusalError):
    """Raised if no unfinished import has the given number."""


class ExportFileError(RefusalError):
    """Raised if a file for an export can't be created."""


def rehearse_import(
    installation: Installation,
    actor: Actor,
    file: Path,
    options: ImportOptions,
    *,
    now: datetime,
    progress: Progress,
    outcomes: Path | None = None,
    keep_rejects: bool = False,
) -> ImportReport:
    """Read a file, and count what importing it would do.

    No subscriber is changed. `outcomes` receives the result of each row. With `keep_rejects`,
    rejected rows are written next to `file`.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ListFileError: the file can't be read as a list, or changed while being read.
        OSError: the row results couldn't be written.
    """
    IMPORT.check_permitted(installation, actor, "a list", now=now)
    with ExitStack() as stack:
        survey = stack.enter_context(_survey(installation, file, options))
        write_reject = stack.enter_context(_open_reject_writer(survey, make_rejected_rows_path(file)))
        return imports.rehearse_import(
            _import_context(installation, actor),
            survey,
            options,
            now=now,
            on_reject=write_reject if keep_rejects else ignore_reject,
            outcomes=stack.enter_context(_open_outcomes(outcomes)),
            progress=_count_rows(survey, progress),
        )


def import_list(
    installation: Installation,
    actor: Actor,
    file: Path,
    options: ImportOptions,
    *,
    now: datetime,
    progress: Progress,
    outcomes: Path | None = None,
    file_name: str = "",
) -> tuple[ImportReport, Path | None]:
    """Import a file, or resume its import.

    Rejected rows are written in full next to the list. The result of each row is written to
    `outcomes`, by row number. `file_name` is the name of the list on pages, by default that of the
    file.

    Returns:
        The report, and the file of rejected rows, if any.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ListFileError: the file can't be read as a list, changed while being read, or its import was
            started with other options.
        OSError: the unsubscribe log, the rejected rows, or the row results couldn't be written.
    """
    with (
        IMPORT.steps(installation, actor, "a list", now=now) as draft,
        _survey(installation, file, options) as survey,
    ):
        draft.detail = {"origin": survey.layout.origin, "options": options.as_json()}
        with (
            mark_import_running(installation.database, survey.file_hash, now=now) as renew,
            _open_reject_writer(survey, make_rejected_rows_path(file)) as write_reject,
            _open_outcomes(outcomes) as account,
        ):
            count_rows = _count_rows(survey, progress)

            def note_step(row: int) -> None:
                renew()
                count_rows(row)

            report = imports.run_import(
                replace(_import_context(installation, actor), file_name=make_safe_file_name(file_name or file.name)),
                survey,
                options,
                now=now,
                on_reject=write_reject,
                outcomes=account,
                progress=note_step,
            )
        draft.subject, draft.changed = f"import {report.batch}", not report.already_imported
        draft.detail |= {"counts": report.as_json()}
    rejected_file = make_rejected_rows_path(file)
    return report, rejected_file if report.counts[RowOutcome.REJECTED] and rejected_file.exists() else None


def read_pieces(file: IO[AnyStr]) -> Iterator[AnyStr]:
    """Yield the content of an open file from its start, in chunks, and then close the file."""
    with file:
        file.seek(0)
        while piece := file.read(_PIECE_SIZE):
            yield piece


@contextmanager
def _survey(installation: Installation, file: Path, options: ImportOptions) -> Iterator[FileSurvey]:
    """Yield a survey of a list that's about to be imported.

    A list in a ZIP file or a spreadsheet is unpacked first.
    """
    with prepare_readable_list(file, installation.settings.uploads_folder) as table:
        yield survey_file(table, options, part_keys=_map_tags_to_parts(list_sections_and_topics(installation), options))


def list_sections_and_topics(installation: Installation) -> tuple[tuple[str, str], ...]:
    """Return the sections and topics that subscribers can choose, as (key, title).

    The tags in an imported list can be mapped to them.
    """
    return list_part_titles(installation.settings, installation.settings.subscriber_language)


def map_topic_names(installation: Installation) -> dict[str, str]:
    """Return the names that topics have in exported files, by topic key."""
    parts = ((split_part_key(key)[1], title) for key, title in list_sections_and_topics(installation))
    return {topic: slugify_topic(title) for topic, title in parts if topic}


def _map_tags_to_parts(parts: Sequence[tuple[str, str]], options: ImportOptions) -> dict[str, str]:
    """Return the keys of sections and topics, by the words and tags that stand for them.

    The words and tags are in lowercase.
    """
    # Sections come last because they take precedence over topics.
    sections_last = sorted(parts, key=lambda part: not split_part_key(part[0])[1])
    words = {
        word.lower(): key
        for key, title in sections_last
        for word in (slugify_topic(title), *split_part_key(key), title)
        if word
    }
    keys = {key for key, _ in parts}
    return words | {tag.lower(): key for tag, key in options.tags if key in keys}


def _import_context(installation: Installation, actor: Actor) -> ImportContext:
    return ImportContext(
        installation.database,
        installation.keys,
        installation.unsubscribe_log,
        actor.name,
        partial(open_database, installation.settings.effective_database_url),
    )


def _count_rows(survey: FileSurvey, progress: Progress) -> Callable[[int], None]:
    """Return a progress callback that counts the data rows, without the heading."""
    heading = int(survey.layout.has_heading)
    return lambda row: progress(max(0, min(row - heading, survey.rows)), survey.rows)


def save_row_outcomes(intermediate: Path, file: Path, name_outcome: Callable[[RowReason], str]) -> None:
    """Write the row results to a new CSV file, then delete the intermediate file.

    Only its owner can read the new file.

    Raises:
        ExportFileError: the file already exists or can't be created.
    """
    with open_new_export_file(file) as csv_file:
        write_outcomes(csv_file, read_outcomes(intermediate), name_outcome)
    intermediate.unlink()


def make_rejected_rows_path(file: Path) -> Path:
    """Return the path of the file for rejected rows."""
    return file.with_name(f"{file.name}.rejected.csv")


@contextmanager
def _open_outcomes(path: Path | None) -> Iterator[OutcomeFile | None]:
    """Yield a file for row results, or None if no such file was requested."""
    if path is None:
        yield None
        return
    with OutcomeFile(path) as account:
        yield account


@contextmanager
def _open_reject_writer(survey: FileSurvey, path: Path) -> Iterator[RejectCallback]:
    """Yield a function that writes a rejected row to a file.

    The file is next to the list, and only its owner can read it.
    """
    with ExitStack() as stack:
        writers: list[SpreadsheetCsvWriter] = []

        def write_reject(number: int, reason: str, fields: Sequence[str]) -> None:
            if not writers:
                # This was left by an earlier run.
                path.unlink(missing_ok=True)
                writers.append(SpreadsheetCsvWriter(stack.enter_context(_create_private_file(path))))
                writers[0].write_row(["row", "reason", *(read_headings(survey) or survey.layout.numbered_columns)])
            writers[0].write_row([number, reason, *fields])

        yield write_reject


def _create_private_file(path: Path) -> TextIO:
    return os.fdopen(create_private_file(path), "w", newline="", encoding="utf-8")


def list_unfinished_imports(
    installation: Installation, actor: Actor, *, now: datetime
) -> list[tuple[import_batches.UnfinishedImport, int]]:
    """Return the unfinished imports and the number of people in each.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    IMPORT.check_role(installation, actor, "unfinished imports", now=now)
    with installation.read() as session:
        return [
            (unfinished, count_batch_people(session, unfinished.batch))
            for unfinished in import_batches.list_unfinished_imports(session)
        ]


@dataclass(frozen=True, slots=True)
class ImportsView:
    """The finished and unfinished imports, as shown on their page.

    `finished` imports are in order from newest to oldest. `unfinished` has idle imports with the
    number of people in them. `departures` is the number of imported departures.
    """

    finished: tuple[import_batches.FinishedImport, ...]
    unfinished: tuple[tuple[import_batches.UnfinishedImport, int], ...]
    departures: int


def view_imports(installation: Installation, actor: Actor, *, now: datetime) -> ImportsView:
    """Return the imports as shown on their page.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    unfinished = list_unfinished_imports(installation, actor, now=now)
    with installation.read() as session:
        idle = tuple((each, people) for each, people in unfinished if not is_import_running(session, each, now))
        return ImportsView(
            tuple(import_batches.list_finished_imports(session, limit=MAX_SHOWN_IMPORTS)),
            idle,
            imports.count_imported_departures(session),
        )


def find_finished_import(
    installation: Installation, actor: Actor, batch: int, *, now: datetime
) -> import_batches.FinishedImport | None:
    """Return a finished import by its number, or None.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    IMPORT.check_role(installation, actor, f"import {batch}", now=now)
    with installation.read() as session:
        return import_batches.find_finished_import(session, batch)


def count_import_people(installation: Installation, actor: Actor, batch: int, *, now: datetime) -> int:
    """Count the people in an import that can be abandoned.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownImportError: no unfinished import has this number.
    """
    ABANDON.check_permitted(installation, actor, f"import {batch}", now=now)
    for unfinished, people in list_unfinished_imports(installation, actor, now=now):
        if unfinished.batch == batch:
            return people
    raise _unknown_import(batch)


def abandon_import(installation: Installation, actor: Actor, batch: int, *, now: datetime) -> UndoResult:
    """Abandon an unfinished import and remove the people that only it added.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownImportError: no unfinished import has this number.
    """
    with ABANDON.steps(installation, actor, f"import {batch}", now=now) as draft:
        result = abandon_batch(installation.database, batch, actor=actor.name, now=now)
        if result is None:
            raise _unknown_import(batch)
        draft.detail = {"people": result.removed, "stay": result.kept_counts}
        return result


def _unknown_import(batch: int) -> UnknownImportError:
    return UnknownImportError(
        f"There's no unfinished import {batch}. To list unfinished imports, run 'digest subscribers import --list'."
    )


def export_list(
    installation: Installation,
    actor: Actor,
    file: AbstractContextManager[IO[str]],
    recipient: exports.ExportRecipient,
    *,
    now: datetime,
    progress: Progress = lambda *_: None,
    list_filter: SubscriberFilter = exports.EVERYONE,
) -> exports.ListExportResult:
    """Write the matching subscribers as CSV to a file that's opened here, and return the result.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ExportFileError: the file already exists or can't be created.
        ExportStateError: the filter selects people whose addresses may not be exported.
    """
    with EXPORT.steps(installation, actor, "the list", now=now) as draft, file as csv_file:
        draft.detail = {"why": recipient.why, "to": recipient.to_whom, **_describe_filter(installation, list_filter)}
        result = exports.export_list(
            installation.database,
            installation.keys,
            csv_file,
            recipient,
            now=now,
            list_filter=list_filter,
            topic_names=map_topic_names(installation),
            progress=lambda people: progress(people, people),
        )
        if result.damaged:
            draft.detail["damaged"] = result.damaged[:MAX_NAMED_PEOPLE]
        return result


def describe_filter_domain(installation: Installation, list_filter: SubscriberFilter) -> str:
    """Return the domain of a filter if it's a large provider's.

    Otherwise, return "one domain", because the domain may identify a person.
    """
    domains = installation.settings.file.limits.domains_per_hour
    return map_tags_to_domain_names(installation.keys, domains).get(list_filter.domain_tag, "one domain")


def _describe_filter(installation: Installation, list_filter: SubscriberFilter) -> dict[str, Any]:
    """Return the criteria of a filter, for the audit log."""
    domain = {"domain": describe_filter_domain(installation, list_filter)} if list_filter.domain_tag else {}
    values = {
        "state": list_filter.state,
        "source": list_filter.asked_where,
        "import": list_filter.batch,
        "since": list_filter.since and f"{list_filter.since:%Y-%m-%d}",
        "before": list_filter.until and f"{list_filter.until:%Y-%m-%d}",
        "gets": list_filter.part,
        "frequency": list_filter.frequency,
        "not paused on": list_filter.mailed_on and list_filter.mailed_on.isoformat(),
        "paused on": list_filter.paused_on and list_filter.paused_on.isoformat(),
    }
    return {name: value for name, value in values.items() if value} | domain


@contextmanager
def open_new_export_file(path: Path) -> Iterator[TextIO]:
    """Yield a new file that only its owner can read.

    The file is deleted if an exception occurs.
    """
    try:
        file = _create_private_file(path)
    except OSError as exc:
        raise ExportFileError(f"Can't write {path}: {exc.strerror}. Choose a file that doesn't exist yet.") from exc
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def count_unverified_people(installation: Installation, actor: Actor, *, now: datetime) -> int:
    """Count the people who could be asked whether they want the newsletter.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    ASK.check_role(installation, actor, "unverified people", now=now)
    with installation.read() as session:
        return permission_requests.count_permission_candidates(session)


def ask_unverified_people(installation: Installation, actor: Actor, *, limit: int, now: datetime) -> int:
    """Queue re-permission emails to up to `limit` people who were imported without evidence.

    Return the number of emails queued.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    settings = installation.settings
    with ASK.steps(installation, actor, "unverified people", now=now) as draft:
        asked_count = permission_requests.queue_permission_emails(
            installation.database,
            installation.keys,
            make_mail_queue(installation, now),
            wording=build_consent_text(settings),
            page=f"{settings.link_base}/confirm",
            actor=actor.name,
            limit=limit,
            now=now,
        )
        draft.detail = {"asked": asked_count}
        return asked_count


def pull_suppressions(
    installation: Installation, actor: Actor, *, from_beginning: bool, now: datetime
) -> SuppressionPullResult:
    """Apply new entries in the provider's suppression lists, or all entries if `from_beginning` is true.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ProviderSettingsError: the settings don't give access to the provider's API.
        OSError: the unsubscribe log couldn't be written.
    """
    with PULL.steps(installation, actor, "suppression lists", now=now) as draft:
        result = pull_suppressions_without_actor(installation, now, from_beginning=from_beginning)
        draft.subject = result.provider_title
        people = dict(result.feedback_counts)
        draft.detail = {"entries": result.entries, "ours": result.matched_people, "people": people}
        return result


def pull_suppressions_without_actor(
    installation: Installation, now: datetime, *, from_beginning: bool = False
) -> SuppressionPullResult:
    """Apply the provider's suppression lists without a role check or an audit row.

    Otherwise, this is the same as `pull_suppressions`.

    Raises:
        ProviderSettingsError: the settings don't give access to the provider's API.
        OSError: the unsubscribe log couldn't be written.
    """
    lists = find_suppression_lists(installation.settings)
    if from_beginning:
        with installation.write() as session:
            lists.reset_positions(session)
    unsubscribe_log = installation.unsubscribe_log
    return lists.pull(installation.database, installation.keys, unsubscribe_log, installation.settings, now=now)
