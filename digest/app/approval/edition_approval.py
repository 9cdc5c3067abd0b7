"""Approving an edition by signing its content, and revoking the approval."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from digest.app.editions.edition_checks import check_edition
from digest.app.editions.edition_status import resolve_edition_name
from digest.app.editions.editor_changes import count_draft_changes
from digest.app.editions.web_editions import store_social_card
from digest.collect.fetch.result import ContentFetcher
from digest.edition.approval import approved_versions as approval
from digest.edition.drafting.composition import NOT_AS_COMPOSED, compose_stored_draft, matches_composition
from digest.edition.edition_queries import find_edition
from digest.edition.preflight.rule_registry import FindingLevel, PreflightFinding
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.audit import APPROVAL_REVOKED, APPROVED
from subscribers.english_text import count_with_noun

APPROVE = Action(APPROVED)
REVOKE_APPROVAL = Action(APPROVAL_REVOKED)


@dataclass(frozen=True, slots=True)
class ApprovalResult:
    """The result of approving an edition, including what it still lacks.

    `missing` is the minimum number of approvals still needed. `unchecked` names the pages of the
    publication's own site that didn't respond when they were checked, or is empty.
    """

    edition: str
    version: int
    missing: int
    unchecked: str = ""


def approve_edition(
    installation: Installation,
    name: str,
    content_hash: str,
    *,
    actor: Actor,
    now: datetime,
    confirmed: Collection[str] = (),
    fetcher: ContentFetcher | None = None,
) -> ApprovalResult:
    """Approve the content of an edition that has the hash `content_hash`.

    The edition can be sent once no approval is missing. Links to the publication's own site are
    checked first. `confirmed` has the names of the rules whose warnings the actor confirmed.
    `fetcher` replaces the network.

    Raises:
        UnknownEditionError: there's no edition of that name.
        ApprovalError: the edition isn't a draft, it changed after the review, preflight finds
            errors or a warning to confirm, a send-back note isn't done, or the actor wrote
            everything that needs approval or has already approved it.
    """
    name = resolve_edition_name(installation, name)
    with APPROVE.steps(installation, actor, name, now=now) as audit:
        findings = check_edition(installation, name, own_site=True, fetcher=fetcher, now=now)
        _refuse_errors(name, findings)
        ticked_rules = _require_confirmation(name, findings, confirmed)
        unchecked = next((f.message for f in findings if f.rule == "own-links"), "")
        settings, keys = installation.settings, installation.keys
        # Reading a large proposal takes a while, so it's done outside the write transaction, which
        # would block other writers.
        with installation.read() as session:
            edition = find_edition(session, name)
            counted = count_draft_changes(session, edition, settings)
            composed = compose_stored_draft(session, edition, settings)
        with installation.write() as session:
            edition = find_edition(session, name)
            signed = approval.sign_approval(
                session, edition, content_hash, settings=settings, keys=keys, actor=actor.name, now=now
            )
            # Compare what was signed, because the draft's own fragments may have been repaired in
            # the meantime.
            signed_pieces = approval.read_approved_version(session, signed).pieces
            if not matches_composition(session, edition, composed, pieces=signed_pieces):
                raise approval.ApprovalError(
                    f"{name} {NOT_AS_COMPOSED}",
                    "Choose “Update the draft” on the edition's review page, or run 'digest draft --update "
                    f"{name}'. Then review the draft again, and redo any missing edits.",
                )
            if counted and counted.content_hash == signed.content_hash:
                signed.editor_counts = counted.counts.as_json()
            missing = approval.count_missing_signatures(signed.statement, [each.actor for each in signed.signatures])
            audit.detail = {"mark": signed.content_hash, "version": signed.version, "missing": missing}
            audit.detail |= {"authors": signed.statement["authors"], "alone": signed.statement["alone"]}
            if ticked_rules:
                audit.detail["confirmed"] = ticked_rules
            if unchecked:
                audit.detail["own site"] = "not checked whole"
            audit.record(session)
            result = ApprovalResult(name, signed.version, missing, unchecked)
    if not result.missing:
        store_social_card(installation, name, now=now)
    return result


def _refuse_errors(name: str, findings: Iterable[PreflightFinding]) -> None:
    errors = [f"{each.rule}: {each.sentence}" for each in findings if each.level == FindingLevel.ERROR]
    if errors:
        listed = " ".join(errors[:3])
        raise approval.ApprovalError(
            f"{name} can't be approved because of {count_with_noun(len(errors), 'error')}.", f"Fix this first: {listed}"
        )


def _require_confirmation(name: str, findings: Iterable[PreflightFinding], confirmed: Collection[str]) -> list[str]:
    """Return the sorted names of the rules whose warnings were confirmed.

    Raises:
        ApprovalError: another rule's warnings must be confirmed, too.
    """
    to_confirm = {each.rule: each.sentence for each in findings if each.must_be_confirmed}
    for rule, sentence in to_confirm.items():
        if rule not in confirmed:
            raise approval.ApprovalError(
                f"{name} can't be approved until someone confirms a warning. {sentence}",
                f"Check its box on the edition's review page, or add '--confirm {rule}'.",
            )
    return sorted(to_confirm)


def revoke_approval(installation: Installation, name: str, *, actor: Actor, now: datetime) -> str:
    """Revoke an edition's approval and return its name.

    The edition becomes a draft again.

    Raises:
        UnknownEditionError: there's no edition of that name.
        ApprovalError: nothing is approved, or sending has begun.
    """
    name = resolve_edition_name(installation, name)
    with REVOKE_APPROVAL.transaction(installation, actor, name, now=now) as (session, audit):
        edition = find_edition(session, name)
        approval.revoke_all_approvals(session, edition, actor=actor.name, now=now)
        audit.detail = {approval.REVOKED_DETAIL: approval.list_revoked_versions(session, edition)}
    return name
