"""Admin pages for staff accounts, invitations, roles, sign-in links, and resets.

They never show subscribers' addresses.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from flask import abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import sign_in
from digest.app.accounts import staff as staff_actions
from digest.app.accounts.own_account import OwnAccountError
from digest.app.accounts.staff import StaffOverview
from digest.store.staff import StaffError
from digest.web.admin.blueprint import admin_pages, get_installation_actor_and_time, require_number_typed_to_confirm
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff
from digest.web.forms import Count, FormOrQueryModel, read_form, read_query
from subscribers.errors import RefusalError
from subscribers.pages.forms import FormError

OTHERS_ONLY = frozenset({"role", "sessions", "reset", "removal"})  # what staff members can't do to their own accounts
# These actions can't be undone, so they have their own page.
IRREVERSIBLE_ACTIONS = frozenset({"reset", "removal"})


class RoleForm(FormOrQueryModel):
    """The role of a staff member."""

    role: Literal["editor", "admin"]


class InvitationForm(RoleForm):
    """An invitation. Its address is checked by the action."""

    email: str = ""
    name: str = ""


class StaffQuery(FormOrQueryModel):
    """The numbers of the staff members who were just invited and removed, or whose invitation was withdrawn, or 0."""

    invited: Count = 0
    removed: Count = 0
    withdrawn: Count = 0


@admin_pages.get("/staff")
def list_staff() -> ResponseReturnValue:
    """Show the list of staff members and the invitation form."""
    return _staff_page()


@admin_pages.post("/staff")
def invite_member() -> ResponseReturnValue:
    """Add a staff member and email them an invitation."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(InvitationForm)
        address, role = staff_actions.parse_member_address(form.email), staff_actions.STAFF_ROLES[form.role]
        member = staff_actions.add_staff_member(installation, actor, address, role, name=form.name, now=now)
    except RefusalError as exc:
        return _staff_page(refusal=exc), 400
    return redirect(url_for("admin.list_staff", invited=member.id), 303)


def _staff_page(*, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    rows, query = staff_actions.view_staff(installation, actor, now=now), read_query(StaffQuery)
    members = {row.member.id: row.member for row in rows}
    return render_template(
        "web/admin/accounts/staff.html",
        rows=rows,
        refused=staff_actions.count_refused_sign_ins(installation, actor, now=now),
        refusal=refusal,
        invited=members.get(query.invited),
        query=query,
        names=staff_actions.read_display_names(installation),
    )


@admin_pages.get("/staff/<int:number>")
def show_member(number: int) -> ResponseReturnValue:
    """Show a staff member and the actions that admins can take."""
    return _member_page(_find_row(number))


@admin_pages.get("/staff/<int:number>/<any(role, reset, removal):act>")
def confirm_account_action(number: int, act: str) -> ResponseReturnValue:
    """Describe an action on a staff member, and ask for their number if it can't be undone.

    Withdrawing an invitation doesn't need the number.
    """
    return _irreversible_action_page(_find_row(number), act)


def _irreversible_action_page(row: StaffOverview, act: str, *, refusal: RefusalError | None = None) -> str:
    return render_template("web/admin/accounts/member_action.html", row=row, act=act, refusal=refusal)


@admin_pages.post("/staff/<int:number>/<any(role, invitation, link, sessions, reset, removal):act>")
def change_member(number: int, act: str) -> ResponseReturnValue:
    """Perform an admin's action on a staff member."""
    row = _find_row(number)
    if number == current_staff().member_id and act in OTHERS_ONLY:
        return _member_page(
            row, refusal=StaffError("You can't change your own role or remove yourself. Ask another admin.")
        ), 409
    try:
        done_action, ended = _act_on_member(row, act)
    except FormError as exc:
        page = (
            _irreversible_action_page(row, act, refusal=exc)
            if act in IRREVERSIBLE_ACTIONS
            else _member_page(row, refusal=exc)
        )
        return page, 400
    except (StaffError, OwnAccountError) as exc:
        return _member_page(_find_row(number), refusal=exc), 409
    if act == "removal":
        withdrawn, removed = (number, None) if row.is_invited else (None, number)
        return redirect(url_for("admin.list_staff", withdrawn=withdrawn, removed=removed), 303)
    flash(f"{done_action} {ended}", f"member {number}")
    return redirect(url_for("admin.show_member", number=number), 303)


def _act_on_member(row: StaffOverview, act: str) -> tuple[str, int]:
    """Perform an action on a staff member, and return a description of it and the number of ended sessions."""
    installation, actor, now = get_installation_actor_and_time()
    address = staff_actions.parse_member_address(row.member.email)
    if act in IRREVERSIBLE_ACTIONS and not (act == "removal" and row.is_invited):
        require_number_typed_to_confirm(row.member.id)
    if act == "role":
        role = staff_actions.STAFF_ROLES[read_form(RoleForm).role]
        staff_actions.change_staff_role(installation, actor, address, role, now=now)
    result = _MEMBER_ACTIONS[act](installation, actor, address, now=now) if act in _MEMBER_ACTIONS else None
    if act not in _WAYS_IN:
        return act, result if isinstance(result, int) else 0
    if row.member.proven_at is None:
        staff_actions.send_address_verification_link(installation, actor, address, now=now)
        return "invitation", 0
    sign_in.email_sign_in_link(installation, actor, row.member.email, now=now)
    return "link", 0


_WAYS_IN = frozenset({"link", "reset"})  # these send a sign-in link, or the invitation if the address isn't verified
_MEMBER_ACTIONS: Mapping[str, Callable[..., object]] = {
    "invitation": staff_actions.send_address_verification_link,
    "sessions": staff_actions.end_staff_sessions,
    "reset": staff_actions.reset_staff_sign_in,
    "removal": staff_actions.remove_staff_member,
}


def _find_row(number: int) -> StaffOverview:
    installation, actor, now = get_installation_actor_and_time()
    rows = {row.member.id: row for row in staff_actions.view_staff(installation, actor, now=now)}
    return rows.get(number) or abort(404, "No team member has this number.")


def _member_page(row: StaffOverview, *, refusal: RefusalError | None = None) -> str:
    names = staff_actions.read_display_names(get_app_state().installation)
    return render_template("web/admin/accounts/member.html", row=row, names=names, refusal=refusal)
