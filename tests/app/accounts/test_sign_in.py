"""Signing in with a password and code: what's accepted, what's refused, and how many attempts there are."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from sqlalchemy import Engine, event, func, select
from structlog.testing import capture_logs
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from digest.app.accounts import attempt_limits, authenticator_apps, own_account, passwords, sign_in, sign_in_log
from digest.app.accounts import staff as staff_actions
from digest.app.accounts.attempt_limits import SignInRefusedError, TooManyAttemptsError
from digest.app.accounts.own_account import OwnAccountError
from digest.app.accounts.passkeys import PasskeyError
from digest.app.accounts.passwords import PasswordRefusedError
from digest.app.accounts.sign_in import SignedInStaff
from digest.app.accounts.sign_in_log import RefusedSignInCounts
from digest.app.accounts.visitor import Visitor, make_device_token, read_device_token
from digest.app.upkeep.nightly_steps import delete_old_sign_ins
from digest.installation.audited_actions import ActionEntryPoint, NotPermittedError
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.account_models import (
    AuthenticatorApp,
    Passkey,
    RecoveryCode,
    SignInAttempt,
    StaffSession,
    UsedChallenge,
)
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry
from digest.store.staff import StaffError, require_staff_member
from subscribers.address import read_address
from subscribers.crypto.keys import KeyRing
from subscribers.errors import RefusalError
from subscribers.signup.rate_limits import TEN_MINUTES, find_window_start
from subscribers.store.key_rotation import add_key
from subscribers.store.signup_models import RateLimitCount
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW

SAM = "sam.okafor@newsroom.example"
PASSWORD = "plum tractor window nine"
WRONG_CODE = r"^That code is wrong or has already been used\. Enter the next code\. You have 4 more tries"
WRONG_SIGN_IN = r"^The email address, password, or code is wrong\. Check all three\. You have 4 more tries"
HOME = Visitor("8.8.4.9", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")


@dataclass
class Desk:
    """An installation with Sam, who has a password, an app and recovery codes."""

    install: Installation
    secret: str = ""
    codes: list[str] = field(default_factory=list)
    steps: int = 0  # of 30 seconds, that have gone by

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=30 * self.steps)

    def code(self) -> str:
        """Wait for the app's next code, and read it."""
        self.steps += 1
        return pyotp.TOTP(self.secret).at(self.now)

    def sign_in(
        self, *, email: str = SAM, password: str = PASSWORD, code: str | None = None, visitor: Visitor = HOME
    ) -> sign_in.NewStaffSession:
        code = self.code() if code is None else code
        return sign_in.sign_in_by_password(self.install, email, password, code, visitor, now=self.now)

    def signed_in(self) -> SignedInStaff:
        url = sign_in.make_sign_in_link(self.install, ADMIN, SAM, now=self.now)
        begun = sign_in.sign_in_by_link(self.install, url.rpartition("/")[2], HOME, now=self.now)
        assert begun is not None
        found = sign_in.find_signed_in_member(self.install, begun.token, now=self.now)
        assert found is not None
        return found

    def store_older_hash(self) -> None:
        """Store Sam's password under parameters of Argon2id that aren't today's."""
        hasher = Argon2id(salt=b"a salt of 16 b..", length=32, iterations=1, lanes=1, memory_cost=64)
        with self.install.database.write() as session:
            session.scalars(select(StaffMember)).one().password_hash = hasher.derive_phc_encoded(PASSWORD.encode())

    def log(self) -> list[tuple[str, bool]]:
        with self.install.database.read() as session:
            rows = session.execute(select(SignInAttempt.method, SignInAttempt.succeeded).order_by(SignInAttempt.id))
            return [(row.method, row.succeeded) for row in rows if row.method != "link"]


@pytest.fixture
def bare(one_database: Database, tmp_path: Path) -> Desk:
    """Give an installation with Sam, who has no way to sign in but a link."""
    return open_desk(one_database, tmp_path)


@pytest.fixture
def desk(bare: Desk) -> Desk:
    return set_up_password(bare)


@pytest.fixture
def desk_on_both(database: Database, tmp_path: Path) -> Desk:
    """Give the same on each database: for what one stores, counts or refuses."""
    return set_up_password(open_desk(database, tmp_path))


def open_desk(database: Database, home: Path) -> Desk:
    settings = Settings(home=home, base_url="http://localhost:8025")
    KeyRing.create(settings.key_file)
    with database.write() as session:
        session.add(StaffMember(email=SAM, role="editor", added_at=NOW, added_by="test", proven_at=NOW))
    return Desk(Installation(settings, database))


def set_up_password(bare: Desk) -> Desk:
    member = bare.signed_in()
    own_account.begin_authenticator_setup(bare.install, member, now=bare.now)
    bare.secret = own_account.read_unconfirmed_secret(bare.install, member)
    bare.codes = own_account.set_password(bare.install, member, PASSWORD, bare.code(), HOME, now=bare.now)
    own_account.end_own_session(bare.install, member, member.session_id, now=bare.now)
    return bare


def test_password_and_code_sign_in_once_a_code_and_with_a_fresh_token_each_time(desk_on_both: Desk) -> None:
    code = desk_on_both.code()
    first = desk_on_both.sign_in(code=f" {code[:3]} {code[3:]} ", email="Sam.Okafor@Newsroom.Example")
    assert sign_in.find_signed_in_member(desk_on_both.install, first.token, now=desk_on_both.now) is not None
    with pytest.raises(SignInRefusedError, match=WRONG_CODE) as caught:
        desk_on_both.sign_in(code=code)
    assert caught.value.field == "code"
    second = desk_on_both.sign_in()
    assert first.token != second.token
    assert desk_on_both.log() == [("password", True), ("password", False), ("password", True)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "not it, not it"},
        {"password": ""},
        {"email": "nobody@newsroom.example"},
        {"email": "no address"},
        {"email": "\0"},
        {"email": "", "password": "", "code": ""},
    ],
)
def test_a_wrong_address_and_a_wrong_password_are_answered_alike(desk_on_both: Desk, wrong: dict[str, Any]) -> None:
    with pytest.raises(SignInRefusedError, match=WRONG_SIGN_IN) as caught:
        desk_on_both.sign_in(**wrong)
    assert caught.value.field == ""


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\0", "0" * 5000])
def test_what_is_no_code_is_refused(desk: Desk, code: str) -> None:
    with pytest.raises(SignInRefusedError, match=WRONG_CODE):
        desk.sign_in(code=code)


def test_a_code_of_a_neighboring_step_works_and_of_a_farther_one_does_not(desk: Desk) -> None:
    app = pyotp.TOTP(desk.secret)
    for offset, works in ((-60, False), (60, False), (30, True)):
        desk.steps += 10
        code = app.at(desk.now + timedelta(seconds=offset))
        if works:
            assert desk.sign_in(code=code).token
        else:
            with pytest.raises(SignInRefusedError):
                desk.sign_in(code=code)
    desk.steps += 10
    assert desk.sign_in(code=app.at(desk.now - timedelta(seconds=30))).token


@pytest.mark.takes_turns
def test_each_recovery_code_works_once_and_new_ones_end_the_old(desk_on_both: Desk) -> None:
    assert len(set(desk_on_both.codes)) == authenticator_apps.RECOVERY_CODES
    assert all(len(code.replace("-", "")) * 5 >= 128 for code in desk_on_both.codes), "random bits, in base32"
    assert desk_on_both.sign_in(code=desk_on_both.codes[0].upper().replace("-", " ")).token
    with pytest.raises(SignInRefusedError):
        desk_on_both.sign_in(code=desk_on_both.codes[0])
    member = desk_on_both.signed_in()
    assert own_account.view_own_account(desk_on_both.install, member, now=desk_on_both.now).recovery_codes_left == 9
    fresh = own_account.replace_recovery_codes(desk_on_both.install, member, now=desk_on_both.now)
    assert not set(fresh) & set(desk_on_both.codes)
    with pytest.raises(SignInRefusedError):
        desk_on_both.sign_in(code=desk_on_both.codes[1])
    assert desk_on_both.sign_in(code=fresh[1]).token
    assert desk_on_both.log()[-1] == ("recovery code", True)


@pytest.mark.takes_turns
def test_nothing_that_signs_in_is_stored_in_clear(desk_on_both: Desk) -> None:
    begun = desk_on_both.sign_in()
    secrets = [
        PASSWORD,
        desk_on_both.secret,
        begun.token,
        *desk_on_both.codes,
        *(code.replace("-", "") for code in desk_on_both.codes),
    ]
    with desk_on_both.install.database.engine.connect() as connection:
        rows = [
            row
            for table in (StaffMember, StaffSession, AuthenticatorApp, RecoveryCode, SignInAttempt, AuditEntry)
            for row in connection.execute(select(table.__table__))
        ]
    text = repr(rows)
    assert not [secret for secret in secrets if secret in text or repr(secret.encode())[2:-1] in text]
    assert HOME.address not in text


@pytest.mark.takes_turns
def test_after_five_wrong_tries_a_browser_waits_and_every_other_goes_on(desk_on_both: Desk) -> None:
    for left in (4, 3, 2, 1, 0):
        with pytest.raises(SignInRefusedError, match=f"You have {left} more tr"):
            desk_on_both.sign_in(password="wrong wrong wrong", code="000000")
    with pytest.raises(TooManyAttemptsError, match="Wait 10 minutes"):
        desk_on_both.sign_in()
    assert desk_on_both.sign_in(visitor=Visitor("9.9.9.9", "elsewhere")).token
    desk_on_both.steps += 20
    assert desk_on_both.sign_in().token


def test_a_sign_in_takes_its_own_wrong_tries_back(desk: Desk) -> None:
    for _ in range(3):
        for _ in range(attempt_limits.TRIES_PER_BROWSER - 1):
            with pytest.raises(SignInRefusedError):
                desk.sign_in(password="wrong wrong wrong", code="000000")
        assert desk.sign_in().token


@pytest.mark.takes_turns
def test_nobody_locks_a_colleague_out_of_a_browser_that_was_signed_in_before(desk_on_both: Desk) -> None:
    known = Visitor(HOME.address, HOME.user_agent, desk_on_both.sign_in().device)
    desk_on_both.steps += 20
    for _ in range(attempt_limits.TRIES_PER_BROWSER):
        with pytest.raises(SignInRefusedError):
            desk_on_both.sign_in(password="x", code="0", visitor=Visitor("8.8.4.77", "in the same office"))
    for number in range(attempt_limits.TRIES_PER_ACCOUNT - attempt_limits.TRIES_PER_BROWSER - 1):
        with pytest.raises(SignInRefusedError):
            desk_on_both.sign_in(password="x", code="0", visitor=Visitor(f"9.{number}.1.1", ""))
    with pytest.raises(TooManyAttemptsError, match="a browser you've signed in with before"):
        desk_on_both.sign_in(visitor=Visitor("5.5.5.5", "a new phone"))
    assert desk_on_both.sign_in(visitor=known).token
    assert desk_on_both.signed_in().email, "a link works always"


@pytest.mark.parametrize("local", ["sam.okafor", "nobody"])
def test_every_spelling_of_an_address_counts_as_one_whether_it_is_on_the_staff_or_not(desk: Desk, local: str) -> None:
    """Else four tries left, then four again, would tell that nobody has this address."""
    spellings = (
        "newsroom.example",
        "newsroom\u3002example",
        "Newsroom\uff0eExample",
        "newsroom\uff61example",
        "\uff2e\uff25\uff37\uff33ROOM.example",
    )
    for left, domain in zip((4, 3, 2, 1, 0), spellings, strict=True):
        with pytest.raises(SignInRefusedError, match=f"You have {left} more tr"):
            desk.sign_in(email=f" {local.title()}@{domain}", password="wrong wrong wrong", code="000000")
    with pytest.raises(TooManyAttemptsError):
        desk.sign_in(email=f"{local}@newsroom\u3002example", password="wrong wrong wrong", code="000000")


@pytest.mark.takes_turns
def test_each_refused_try_is_counted_and_logged_without_an_address(desk_on_both: Desk) -> None:
    """20 tries on Sam, 5 of them judged; 7 on an unknown address; one with an unknown passkey and one by a dead link."""
    install, now = desk_on_both.install, desk_on_both.now
    passkey = json.dumps({"id": "AAAA", "response": {}})
    with capture_logs() as lines:
        for email, tries in ((SAM, 20), ("nobody@newsroom.example", 7)):
            for _ in range(tries):
                with pytest.raises(RefusalError):
                    desk_on_both.sign_in(email=email, password="x", code="0")
        with pytest.raises(PasskeyError):
            sign_in.sign_in_by_passkey(install, passkey, HOME, now=now)
        assert sign_in.sign_in_by_link(install, "no-such-link", HOME, now=now) is None
    said = Counter((line["reason"], line["member"]) for line in lines if line["event"] == "sign-in refused")
    assert said == {
        ("wrong password", "staff 1"): 5,
        ("too many tries", "staff 1"): 15,
        ("unknown address", ""): 5,
        ("too many tries", ""): 2,
        ("unknown passkey", ""): 1,
        ("link that doesn't work", ""): 1,
    }
    assert "newsroom" not in repr(lines)
    assert HOME.address not in repr(lines)
    with install.database.read() as session:
        assert sign_in_log.count_recent_refusals(session, now=now) == RefusedSignInCounts(
            last_hour=29, last_day=29, unknown_address=5
        )
        later = now + timedelta(hours=2)
        assert sign_in_log.count_recent_refusals(session, now=later) == RefusedSignInCounts(
            last_hour=0, last_day=29, unknown_address=5
        )


def test_a_flood_of_refused_tries_is_counted_up_to_a_bound(desk: Desk) -> None:
    with desk.install.database.write() as session:
        row = {"scope": sign_in_log.SCOPE, "tag": "unknown passkey", "began": find_window_start(desk.now, TEN_MINUTES)}
        session.add(RateLimitCount(**row, count=sign_in_log.MOST_COUNTED))
    with pytest.raises(PasskeyError):
        sign_in.sign_in_by_passkey(desk.install, json.dumps({"id": "AAAA", "response": {}}), HOME, now=desk.now)
    with desk.install.database.read() as session:
        assert sign_in_log.count_recent_refusals(session, now=desk.now).last_hour == sign_in_log.MOST_COUNTED


def test_one_network_tries_fifty_times_whatever_the_accounts(desk: Desk) -> None:
    with desk.install.database.read() as session:
        assert session.scalar(select(func.count()).select_from(RateLimitCount)) == 0
    known = Visitor(HOME.address, HOME.user_agent, make_device_token(desk.install.keys, 1))
    for number in range(attempt_limits.TRIES_PER_NETWORK):
        with pytest.raises(SignInRefusedError):
            desk.sign_in(email=f"guess{number}@newsroom.example", password="x", code="0")
    with pytest.raises(TooManyAttemptsError, match="from your network"):
        desk.sign_in()
    assert desk.sign_in(visitor=known).token, "the same network, in a browser that was signed in before"
    with desk.install.database.read() as session:
        tags = "".join(session.scalars(select(RateLimitCount.tag)))
        assert find_window_start(desk.now, TEN_MINUTES) in set(session.scalars(select(RateLimitCount.began)))
    assert "8.8.4" not in tags
    assert "newsroom" not in tags


def test_a_mark_of_a_browser_is_one_members_and_cannot_be_made_up(desk: Desk) -> None:
    keys = desk.install.keys
    mark = make_device_token(keys, 1)
    assert len(read_device_token(keys, mark, 1)) == 22
    assert read_device_token(keys, mark, 2) == ""
    for made_up in (
        "",
        "1",
        mark[:-1] + ("0" if mark[-1] != "0" else "1"),
        mark.replace("1.", "2.", 1),
        "²" + mark[1:],
    ):
        assert read_device_token(keys, made_up, 1) == ""
    add_key(desk.install.settings.key_file, "session")
    assert read_device_token(keys, mark, 1) != "", "a rotated key goes on verifying"


def test_a_rotated_vault_key_encrypts_the_apps_secret_anew_at_the_next_sign_in(desk_on_both: Desk) -> None:
    add_key(desk_on_both.install.settings.key_file, "vault")
    desk_on_both.install.keys.of_kind("vault")
    assert desk_on_both.sign_in().token
    with desk_on_both.install.database.read() as session:
        assert session.scalars(select(AuthenticatorApp.key_id)).one() == desk_on_both.install.keys.current("vault").id
    assert desk_on_both.sign_in().token


FRAMED_WORDS = (
    "Summer2026!!",
    "Welcome2026!!",
    "2026!!Dragon!!",
    "P@55w0rd2026!",
    "QWERTY#2026##",
    "!!!Football!!!",
    "Newsletter2026!",
    "Homeland-2026",
    "Michael19840101",
    "$ecurity2026!!",
    "letmein____2026",
    "password1234",
    "_2026_Chicag0!",
    "1qaz2wsx3edc!!",
    "Monkey\u0662\u0660\u0662\u0666!!",  # digits of another script
)


def test_a_password_hashed_with_other_parameters_is_hashed_anew_at_the_next_sign_in(
    desk_on_both: Desk, shipped_hashing: None
) -> None:
    def stored() -> str:
        with desk_on_both.install.database.read() as session:
            return session.scalars(select(StaffMember.password_hash)).one() or ""

    desk_on_both.store_older_hash()
    older = stored()
    with pytest.raises(SignInRefusedError):
        desk_on_both.sign_in(code="000000")
    assert stored() == older
    assert desk_on_both.sign_in().token
    renewed = stored()
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert desk_on_both.sign_in().token
    assert stored() == renewed


REFUSED = (
    ("short", "That password is too short"),
    ("x" * 201, "That password is too long"),
    *((password, "digits or symbols added") for password in FRAMED_WORDS),
    ("aaaaaaaaaaaaaa", "Repeats"),
    ("sam.okafor.newsroom", "too similar to your name, your email address"),
)


@pytest.mark.parametrize(("password", "why"), REFUSED)
def test_a_password_that_others_would_guess_is_refused_and_changes_nothing(desk: Desk, password: str, why: str) -> None:
    member = desk.signed_in()
    with pytest.raises(PasswordRefusedError, match=why):
        own_account.set_password(desk.install, member, password, "", HOME, now=desk.now)
    assert desk.sign_in().token


def test_each_of_the_3000_most_common_passwords_is_refused_however_it_is_framed() -> None:
    """ASVS 6.2.4: the 3,000 most common ones that are as long as the rule demands."""
    frames = ("{}2026!!!!!!!!", "!!!!!!!!!{}99", "{}............")
    for number, word in enumerate(FREQUENCY_LISTS["passwords"][:3000]):
        password = frames[number % len(frames)].format(word.title())
        with pytest.raises(PasswordRefusedError):
            passwords.check_password_strength(password, own_words=[])


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "Zwölf Boxkämpfer jagen Viktor", "密码密码密码窗户拖拉机李子", "x" * 5 + " 8kQ!vz&2Lm " + "y" * 150],
)
def test_a_password_matches_itself_and_nothing_else(password: str, shipped_hashing: None) -> None:
    stored = passwords.hash_password(password)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.matches_password(password, stored)
    for other in (password[:-1], password + " ", password.swapcase() + ".", ""):
        assert not passwords.matches_password(other, stored)
    assert not passwords.matches_password(password, None)


@pytest.mark.takes_turns
def test_the_present_app_works_until_a_code_of_the_new_one_is_right(desk_on_both: Desk) -> None:
    member = desk_on_both.signed_in()
    own_account.begin_authenticator_setup(desk_on_both.install, member, now=desk_on_both.now)
    new_secret = own_account.read_unconfirmed_secret(desk_on_both.install, member)
    with pytest.raises(OwnAccountError, match=r"^That code is wrong\. Check your phone's clock"):
        own_account.set_password(desk_on_both.install, member, "", "000000", HOME, now=desk_on_both.now)
    assert desk_on_both.sign_in().token, "the old app's code"
    code = pyotp.TOTP(new_secret).at(desk_on_both.now)
    assert own_account.set_password(desk_on_both.install, member, "", code, HOME, now=desk_on_both.now) == []
    with pytest.raises(SignInRefusedError):
        desk_on_both.sign_in()
    desk_on_both.secret = new_secret
    assert desk_on_both.sign_in().token
    with desk_on_both.install.database.read() as session:
        assert session.scalar(select(func.count()).select_from(AuthenticatorApp)) == 1


@pytest.mark.takes_turns
def test_a_new_password_takes_the_current_one_and_guessing_it_is_limited(desk_on_both: Desk) -> None:
    """ASVS 5.0, 6.2.3: who finds a session open doesn't take the account over."""
    member = desk_on_both.signed_in()

    def change(current: str) -> None:
        own_account.set_password(
            desk_on_both.install,
            member,
            "another plum, another window",
            "",
            HOME,
            current=current,
            now=desk_on_both.now,
        )

    for left, current in ((4, ""), (3, "another plum, another window")):
        with pytest.raises(
            SignInRefusedError, match=f"current password is wrong. Enter it again. You have {left} more tries"
        ):
            change(current)
    assert desk_on_both.sign_in().token, "the password is the old one"
    for _ in range(5):
        with pytest.raises(SignInRefusedError):
            change("guessed")
    with pytest.raises(TooManyAttemptsError):
        change(PASSWORD)
    desk_on_both.steps += 22
    change(PASSWORD)
    with pytest.raises(SignInRefusedError):
        desk_on_both.sign_in()
    assert desk_on_both.sign_in(password="another plum, another window").token


def test_a_password_without_an_app_is_not_taken(bare: Desk) -> None:
    member = bare.signed_in()
    with pytest.raises(OwnAccountError, match=r"^You don't have an authenticator app yet\. Set one up first\."):
        own_account.set_password(bare.install, member, PASSWORD, "123456", HOME, now=bare.now)
    own_account.begin_authenticator_setup(bare.install, member, now=bare.now)
    for password, code in (("", "123456"), (PASSWORD, ""), (PASSWORD, "123456")):
        with pytest.raises(OwnAccountError):
            own_account.set_password(bare.install, member, password, code, HOME, now=bare.now)
    with pytest.raises(SignInRefusedError):
        bare.sign_in(code="123456")


def test_a_reset_takes_every_way_to_sign_in_and_ends_every_session(desk_on_both: Desk) -> None:
    begun = desk_on_both.sign_in()
    with desk_on_both.install.database.write() as session:
        session.add(Passkey(staff=1, credential=b"c", public_key=b"p", sign_count=0, name="One", made_at=NOW))
    staff_actions.reset_staff_sign_in(desk_on_both.install, ADMIN, read_address(SAM), now=desk_on_both.now)
    assert sign_in.find_signed_in_member(desk_on_both.install, begun.token, now=desk_on_both.now) is None
    with pytest.raises(SignInRefusedError):
        desk_on_both.sign_in()
    with desk_on_both.install.database.read() as session:
        for table in (Passkey, AuthenticatorApp, RecoveryCode, StaffSession):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert desk_on_both.signed_in().email


@pytest.mark.takes_turns
def test_an_unknown_address_takes_as_many_transactions_as_a_members(desk_on_both: Desk) -> None:
    commits: list[object] = []

    def count_commits(email: str) -> int:
        commits.clear()
        with pytest.raises(SignInRefusedError):
            sign_in.sign_in_by_password(
                desk_on_both.install, email, "wrong", "0", Visitor("8.8.4.9", "Firefox"), now=desk_on_both.now
            )
        return len(commits)

    def note(connection: object) -> None:
        commits.append(connection)

    event.listen(Engine, "commit", note)
    try:
        assert count_commits(SAM) == count_commits("nobody@newsroom.example") > 0
    finally:
        event.remove(Engine, "commit", note)


def test_the_desk_is_given_no_link_to_show(desk: Desk) -> None:
    at_desk = replace(ADMIN, name="staff 9", face=ActionEntryPoint.DESK, confirmed_at=desk.now)
    with pytest.raises(StaffError, match="Email the link instead"):
        sign_in.make_sign_in_link(desk.install, at_desk, SAM, now=desk.now)
    with desk.install.database.write() as session:
        require_staff_member(session, SAM).proven_at = None
    with pytest.raises(StaffError, match="hasn't verified their address yet"):
        sign_in.email_sign_in_link(desk.install, at_desk, SAM, now=desk.now)


def test_only_an_admin_makes_links_and_resets(desk: Desk) -> None:
    editor = desk.signed_in().actor
    for act in (
        lambda: sign_in.make_sign_in_link(desk.install, editor, SAM, now=desk.now),
        lambda: sign_in.email_sign_in_link(desk.install, editor, SAM, now=desk.now),
        lambda: staff_actions.reset_staff_sign_in(desk.install, editor, read_address(SAM), now=desk.now),
        lambda: staff_actions.change_staff_role(desk.install, editor, read_address(SAM), "admin", now=desk.now),
    ):
        with pytest.raises(NotPermittedError):
            act()


def test_every_night_what_is_over_goes(desk_on_both: Desk) -> None:
    desk_on_both.sign_in()
    with desk_on_both.install.database.write() as session:
        session.add(UsedChallenge(hash="x" * 64, expires_at=NOW + timedelta(hours=1)))
    later = NOW + timedelta(days=91)
    assert delete_old_sign_ins(desk_on_both.install, later).startswith("1 expired sessions and ")
    with desk_on_both.install.database.read() as session:
        for table in (StaffSession, SignInAttempt, UsedChallenge):
            assert session.scalar(select(func.count()).select_from(table)) == 0
        assert session.scalar(select(func.count()).select_from(AuthenticatorApp)) == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.114.9", "203.0.114.0/24"),
        ("2001:4860:1:2::3", "2001:4860:1::/48"),
        ("127.0.0.1", "this machine"),
        ("::1", "this machine"),
        ("10.1.2.3", "a private network"),
        ("", "an unknown network"),
    ],
)
def test_a_member_is_shown_a_network_and_never_an_address(address: str, network: str) -> None:
    assert Visitor(address, "").network == network


@pytest.mark.parametrize(
    ("user_agent", "browser"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
            "Chrome on Windows",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("curl/8.5.0", "A browser"),
        ("", "A browser"),
    ],
)
def test_a_member_is_shown_a_browsers_name_and_nothing_else_that_it_says(user_agent: str, browser: str) -> None:
    assert Visitor("", user_agent).browser == browser
