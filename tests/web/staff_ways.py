"""How team members sign in, for browser tests: invitations, virtual passkeys, password and code by keyboard, and the pages' clock."""

import re
from collections.abc import Iterable
from datetime import datetime
from email import message_from_bytes, policy
from typing import Any

import pyotp
from playwright.sync_api import Page, expect

from digest.app.accounts import own_account, sign_in
from digest.app.accounts.visitor import Visitor
from digest.store.account_models import StaffSession
from tests.browser import enter_by_keyboard, write_by_keyboard

PASSWORD = "plum tractor window nine"


def add_authenticator(page: Page) -> Any:
    """Give the page a device that makes passkeys; return the session that commands it."""
    commands = page.context.new_cdp_session(page)
    commands.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    commands.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return commands


def find_invitations(mails: Iterable[bytes]) -> dict[str, str]:
    """Give the path that each invitation among some mails leads to, by the address that it went to."""
    paths = {}
    for octets in mails:
        mail = message_from_bytes(octets, policy=policy.default)
        body = mail.get_body(("plain",))
        found = re.search(r"/staff/[\w-]{22}", body.get_content()) if body else None
        if found:
            paths[str(mail["To"])] = found[0]
    return paths


def read_app_secret(page: Page) -> str:
    """Read the secret that a page shows as text, as somebody types it into their app for codes."""
    code = page.locator("code.secret")
    expect(code).to_be_visible()
    return code.inner_text().replace(" ", "")


def give_password(world: Any, token: str, now: datetime) -> str:
    """Give the member of a session a password and an app that makes codes, and end the session; return the app's secret."""
    member = sign_in.find_signed_in_member(world.install, token, now=now)
    assert member is not None
    own_account.begin_authenticator_setup(world.install, member, now=now)
    secret = own_account.read_unconfirmed_secret(world.install, member)
    own_account.set_password(
        world.install, member, PASSWORD, pyotp.TOTP(secret).at(now), Visitor("127.0.0.1", ""), now=now
    )
    with world.database.write() as session:
        session.delete(session.get_one(StaffSession, member.session_id))
    return secret


def sign_in_by_keyboard(page: Page, email: str, secret: str, now: datetime) -> None:
    """Sign in where a page asks for it, by password and code."""
    write_by_keyboard(page.get_by_label("Your email"), email)
    _write_password_and_code(page, secret, now)


def confirm_by_keyboard(page: Page, secret: str, now: datetime) -> None:
    """Sign in anew where a page asks for it before it shows an address, by password and code."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in again")
    _write_password_and_code(page, secret, now)


def _write_password_and_code(page: Page, secret: str, now: datetime) -> None:
    write_by_keyboard(page.get_by_label("Password"), PASSWORD)
    write_by_keyboard(page.get_by_label("Code from your app"), pyotp.TOTP(secret).at(now))
    enter_by_keyboard(page)
