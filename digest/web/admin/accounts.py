"""The staff, for admins: who they are, invitations, roles, sign-in links, resets. No reader's address is among it."""

from dataclasses import dataclass

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import sign_in
from digest.app.accounts import staff as staff_acts
from digest.app.accounts.own_account import OwnAccountError
from digest.app.accounts.staff import StaffOverview
from digest.store.staff import StaffError
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor, current_staff
from digest.web.context import web_context
from subscribers.errors import RefusalError


@dataclass(frozen=True, slots=True)
class GraveAct:
    """An act on a member that cannot be taken back, as its own page says it; it wants the member's number typed."""

    title: str
    consequence: str
    button: str


GRAVE_ACTS = {
    "reset": GraveAct(
        "Take all ways to sign in from {who}",
        "Their passkeys, password, app and recovery codes go, and every session ends. A link that signs them in once is emailed to them.",
        "Take all ways to sign in",
    ),
    "removal": GraveAct(
        "Remove {who} from the staff",
        "Nothing of theirs signs in any more, and their address is forgotten. The number and the name stay on record, for the audit "
        "log speaks of them. This cannot be undone: to come back they are invited anew.",
        "Remove from the staff",
    ),
}


@admin_pages.get("/staff")
def list_staff() -> ResponseReturnValue:
    """List the staff, with the form that invites somebody."""
    return _staff_page()


@admin_pages.post("/staff")
def invite() -> ResponseReturnValue:
    """Take somebody on to the staff, and mail them an invitation."""
    context, form = web_context(), request.form
    role = form.get("role", "")
    if role not in staff_acts.STAFF_ROLES:
        abort(400)
    try:
        member = staff_acts.add_staff_member(
            context.installation,
            current_actor(),
            staff_acts.read_member_address(form.get("email", "")),
            staff_acts.STAFF_ROLES[role],
            name=form.get("name", ""),
            now=context.clock(),
        )
    except RefusalError as exc:
        return _staff_page(refusal=exc), 400
    return redirect(url_for("admin.list_staff", invited=member.id), 303)


def _staff_page(*, refusal: RefusalError | None = None) -> str:
    context = web_context()
    staff_rows = staff_acts.view_staff(context.installation, current_actor(), now=context.clock())
    invited, removed = (request.args.get(done, "") for done in ("invited", "removed"))
    return render_template(
        "web/admin/accounts/staff.html",
        rows=staff_rows,
        refused=staff_acts.count_refused_sign_ins(context.installation, current_actor(), now=context.clock()),
        refusal=refusal,
        form=request.form,
        invited=next((row.member for row in staff_rows if str(row.member.id) == invited), None),
        removed=removed if removed.isascii() and removed.isdigit() and len(removed) < 10 else "",
    )


@admin_pages.get("/staff/<int:number>")
def show_member(number: int) -> ResponseReturnValue:
    """Show one of the staff, with what an admin may do about their sign-in."""
    return _member_page(_find_row(number))


@admin_pages.get("/staff/<int:number>/<any(reset, removal):act>")
def ask_before_grave_act(number: int, act: str) -> ResponseReturnValue:
    """Say what a grave act on a member will do, and ask for their number."""
    return _grave_act_page(_find_row(number), act)


def _grave_act_page(row: StaffOverview, act: str, *, refusal: RefusalError | None = None) -> str:
    return render_template(
        "web/admin/accounts/member_act.html", row=row, act=act, words=GRAVE_ACTS[act], refusal=refusal
    )


@admin_pages.post("/staff/<int:number>/<any(role, invitation, link, sessions, reset, removal):act>")
def change_member(number: int, act: str) -> ResponseReturnValue:
    """Do one of the acts of an admin on a member."""
    context, actor = web_context(), current_actor()
    row, now = _find_row(number), context.clock()
    address, ended = staff_acts.read_member_address(row.member.email), 0
    own = number == current_staff().member_id
    if own and act in {"role", "sessions", "reset", "removal"}:
        return _member_page(row, refusal=StaffError("Ask another admin: nobody changes their own place here.")), 409
    if act in GRAVE_ACTS and request.form.get("number", "").strip() != str(number):
        slip = StaffError(f"Type the number {number}, so that nobody loses their place by a slip.")
        return _grave_act_page(row, act, refusal=slip), 400
    try:
        if act == "role":
            role = request.form.get("role", "")
            if role not in staff_acts.STAFF_ROLES:
                abort(400)
            staff_acts.change_staff_role(context.installation, actor, address, staff_acts.STAFF_ROLES[role], now=now)
        elif act == "invitation":
            staff_acts.mail_proof_link(context.installation, actor, address, now=now)
        elif act == "sessions":
            ended = staff_acts.end_staff_sessions(context.installation, actor, address, now=now)
        elif act == "removal":
            staff_acts.remove_staff_member(context.installation, actor, address, now=now)
            return redirect(url_for("admin.list_staff", removed=number), 303)
        else:
            if act == "reset":
                staff_acts.reset_staff_sign_in(context.installation, actor, address, now=now)
            act = _email_way_in(row)
    except (StaffError, OwnAccountError) as exc:
        return _member_page(_find_row(number), refusal=exc), 409
    return _member_page(_find_row(number), done=act, ended=ended)


def _email_way_in(row: StaffOverview) -> str:
    """Email a member a sign-in link, or the invitation where the address isn't proven; return which act it was."""
    context, actor, now = web_context(), current_actor(), web_context().clock()
    if row.member.proven_at is None:
        address = staff_acts.read_member_address(row.member.email)
        staff_acts.mail_proof_link(context.installation, actor, address, now=now)
        return "invitation"
    sign_in.email_sign_in_link(context.installation, actor, row.member.email, now=now)
    return "link"


def _find_row(number: int) -> StaffOverview:
    context = web_context()
    rows = staff_acts.view_staff(context.installation, current_actor(), now=context.clock())
    row = next((row for row in rows if row.member.id == number), None)
    if row is None:
        abort(404, "Nobody on the staff has this number.")
    return row


def _member_page(row: StaffOverview, *, refusal: RefusalError | None = None, done: str = "", ended: int = 0) -> str:
    return render_template("web/admin/accounts/member.html", row=row, refusal=refusal, done=done, ended=ended)
