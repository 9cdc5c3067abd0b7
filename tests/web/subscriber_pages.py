"""Every page that subscribers see, in every state, gathered from one small installation by its own actions."""

import re
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.app.subscribers.inactivity_questions import ask_inactive_subscribers
from digest.store.models import EditionState
from digest.web.app import create_app
from subscribers.crypto.link_tokens import make_link_token
from subscribers.store import one_time_tokens
from subscribers.store.models import Disclosure, DisclosureTotal, Person
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import ADA_ADDRESS

BO = "bo.peep@county.example"
WRITTEN_BY_STAFF = ("Ann", "record viewed", "r1", "signed list")


class SubscriberPages:
    """A tour of the pages: each is kept under a name, as the server answered it."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.found: dict[str, str] = {}
        self.client = world.client
        self.afterwards = create_app(world.install, clock=lambda: NOW + timedelta(days=31)).test_client()
        self.mails: set[Any] = set()
        self.new_text = ""

    def visit(self, name: str, path: str, status: int = 200, *, later: bool = False, **form: Any) -> str:
        """Open an address, or send a form to it; keep what is answered, `later` when every link has run out."""
        client = self.afterwards if later else self.client
        answer = client.post(path, data=form["data"]) if "data" in form else client.get(path)
        assert answer.status_code == status, (name, path, answer.status_code)
        self.found[name] = str(answer.text)
        return self.found[name]

    def link(self, page: str, at: Any = NOW) -> str:
        """Answer forms, hand over mails, and give the path of the link in what is new."""
        process_signup_requests(self.world.install, clock=lambda: at)
        send_due_transactional_emails(self.world.install, clock=lambda: at)
        fresh = set(self.world.install.settings.outbox_folder.rglob("*.eml")) - self.mails
        self.mails |= fresh
        if fresh:
            texts = (file.read_text("ascii").replace("=\n", "").replace("=3D", "=") for file in fresh)
            self.new_text = "".join(texts)
        (link,) = set(re.findall(rf"/{page}/[\w-]{{22}}", self.new_text))
        return str(link)


def visit_all(world: Any) -> dict[str, str]:
    """Visit every page in every state; return them by name."""
    tour = SubscriberPages(world)
    for name, path in (("home without editions", "/"), ("editions, none", "/editions"), ("topics, none", "/topics")):
        tour.visit(name, path)
    for number in (1, 2):
        world.edition(
            name=f"2026-W{45 + number}",
            number=145 + number,
            state=EditionState.SENT,
            release_at=RELEASE - timedelta(days=7 * (3 - number)),
        )
    _visit_public_pages(tour)
    _sign_up(tour)
    _stay(tour)
    _choose(tour)
    _see_data(tour)
    _leave(tour)
    _meet_errors(tour)
    return tour.found


def _visit_public_pages(tour: SubscriberPages) -> None:
    for path in (
        "/",
        "/editions",
        "/topics",
        "/topics/maritime",
        "/search",
        "/subscribe",
        "/preferences",
        "/contact",
        "/privacy",
    ):
        tour.visit(path, path)
    tour.visit("editions before", "/editions?before=147")
    tour.visit("topic before", "/topics/maritime?before=147")
    tour.visit("search found", "/search?q=cranes")
    tour.visit("search newest", "/search?q=cranes&sort=new")
    tour.visit("search nothing", "/search?q=zebra")
    for name, path in (("edition", "/editions/2026-W46"), ("edition, newest", "/editions/2026-W47")):
        tour.visit(name, path)
    tour.visit("edition as sent", "/editions/2026-W47/as-sent")
    for path in ("/feed.atom", "/feed.json", "/calendar.ics", "/editions/2026-W47.ics", "/topics/maritime.atom"):
        tour.visit(path, path)


def _sign_up(tour: SubscriberPages) -> None:
    for name, email in (
        ("empty", ""),
        ("no @", "bo.peep"),
        ("long", "b@" + "x" * 300),
        ("no domain", "bo@nowhere"),
        ("space", "bo peep@a.example"),
    ):
        tour.visit(f"sign-up, {name}", "/subscribe", 400, data={"email": email})
        tour.visit(f"lost link, {name}", "/preferences", 400, data={"email": email})
    tour.visit("sign-up, old form", "/subscribe", 400, data={"email": BO, "wording": "99"})
    asks = {"asks": "omit_topics breaking_news"}
    tour.visit("sign-up, no topic", "/subscribe", 400, data={"email": BO, **asks})
    topic, _ = tour.world.app.extensions["subscribers"].site.topics[0]
    chosen = asks | {"topic": topic, "breaking_news": "yes"}
    tour.visit("asked", "/subscribe", data={"email": BO, **chosen})
    tour.visit("lost link asked", "/preferences", data={"email": BO})
    link = tour.link("confirm")
    tour.visit("confirm", link)
    tour.visit("confirm ran out", link, 410, later=True)
    tour.visit("confirmed", link, data={})
    tour.visit("first preferences saved", f"{link}/preferences", data=chosen)
    tour.visit("first preferences, no topic", f"{link}/preferences", 400, data=asks)
    tour.visit("confirmed before", link)
    for name, data in (
        ("empty", {"message": ""}),
        ("long", {"message": "5" * 5001}),
        ("address", {"message": "5", "email": "b"}),
    ):
        tour.visit(f"contact, {name}", "/contact", 400, data=data)
    tour.visit("contact sent", "/contact", data={"message": "Hello"})
    tour.visit("contact sent, answer", "/contact", data={"message": "Hello", "email": BO})


def _stay(tour: SubscriberPages) -> None:
    world = tour.world
    with world.database.write() as session:
        session.get_one(Person, world.ada).asked_at = NOW - timedelta(days=1200)
    ask_inactive_subscribers(world.install, ADMIN, 2, takes_off=True, limit=1, now=NOW)
    link = tour.link("stay")
    tour.visit("stay", link)
    tour.visit("stay ran out", link, 410, later=True)
    tour.visit("stayed", link, data={})
    tour.visit("stayed before", link)


def _choose(tour: SubscriberPages) -> None:
    path = f"/preferences/{tour.world.token('preferences')}"
    tour.visit("preferences", path)
    sections = [key for key, _ in tour.world.app.extensions["subscribers"].site.sections]
    form = {"section": sections[:2], "frequency": "fortnightly", "hour": "7", "zone": "Europe/Paris", "short": "yes"}
    tour.visit("preferences saved", path, data=form | {"text_only": "yes", "pause_until": "2026-12-24"})
    for name, changed in (
        ("no section", {"section": []}),
        ("no day", {"pause_until": "soon"}),
        ("past", {"pause_until": "2020-01-01"}),
        ("hour", {"hour": "99"}),
        ("zone", {"zone": "Mars"}),
    ):
        tour.visit(f"preferences, {name}", path, 400, data=form | changed)
    tour.visit("breaking news", path, data={"asks": "breaking_news", "breaking_news": "yes"})
    tour.visit("turn off breaking news", f"{path}/breaking-news")
    tour.visit("breaking news is off", f"{path}/breaking-news", data={})
    restore = tour.link("restore")
    tour.visit("restore", restore)
    tour.visit("restore ran out", restore, 410, later=True)
    tour.visit("restored", restore, data={})
    tour.visit("restored before", restore)
    tour.visit("preferences monthly", path, data=form | {"frequency": "monthly"})
    restore = tour.link("restore", NOW + timedelta(days=1))
    tour.visit("restored with new links", restore, data={"renew": "yes"})
    tour.visit("outdated link", path, 410)
    tour.visit("test mail, preferences", f"/preferences/{tour.world.token('test preferences')}")
    tour.visit("test mail, leave", f"/u/{tour.world.token('test leave')}")


def _see_data(tour: SubscriberPages) -> None:
    world = tour.world
    with world.database.write() as session:
        person = session.get(Person, world.ada)
        assert person is not None
        generation = person.link_generation
        expires_at = NOW + timedelta(days=1)
        token = one_time_tokens.issue_token(session, "my data", world.ada, now=NOW, expires_at=expires_at)
        moment = NOW - timedelta(days=3)
        session.add(Disclosure(person=world.ada, at=moment, to_whom="Ann", why="record viewed", reference="r1"))
        session.add(
            DisclosureTotal(
                person=world.ada,
                to_whom="A file on our own server",
                why="To send you an edition",
                times=3,
                first_at=moment - timedelta(days=500),
                last_at=moment - timedelta(days=450),
            )
        )
    path = f"/my-data/{token}"
    preferences = make_link_token(world.install.keys, world.ada, "preferences", generation, address=ADA_ADDRESS)
    tour.visit("data asked", f"/preferences/{preferences}/my-data", data={})
    tour.visit("my data", path)
    tour.visit("my record", f"{path}/record", data={})
    tour.visit("my-data.json", f"{path}/download", data={})
    tour.visit("my-copy.csv", f"{path}/copy.csv", data={})
    tour.visit("my-copy.json", f"{path}/copy.json", data={})
    tour.visit("my data, wrong address", f"{path}/address", 400, data={"email": "bo"})
    tour.visit("move asked", f"{path}/address", data={"email": "new@elsewhere.example"})
    move, stop = tour.link("address"), tour.link("address/stop")
    tour.visit("move", move)
    tour.visit("move ran out", move, 410, later=True)
    tour.visit("links renewed", f"{path}/renew-links", data={})
    tour.visit("erase", f"{path}/erase")
    tour.visit("data ran out", path, 410, later=True)
    tour.visit("stop move", stop)
    tour.visit("moved", move, data={})
    tour.visit("undo move", stop)
    tour.visit("undo move, ran out", stop, 410, later=True)
    tour.visit("move undone", stop, data={})
    tour.visit("move undone, again", stop, data={})


def _leave(tour: SubscriberPages) -> None:
    world = tour.world
    with world.database.read() as session:
        bo = session.scalars(select(Person.number).where(Person.number != world.ada)).one()
    path = f"/u/{world.token('leave', bo)}"
    tour.visit("leave", path)
    tour.visit("pause", f"{path}/pause")
    tour.visit("pause, nothing chosen", f"{path}/pause", 400, data={})
    tour.visit("paused", f"{path}/pause", data={"length": "4w"})
    left = tour.visit("left", path, data={"from": "page", "reason": "often"})
    undo = re.findall(r'action="(/undo/[\w-]+)"', left)
    tour.visit("left before", path)
    tour.visit("not on the list, preferences", f"/preferences/{world.token('preferences', bo)}")
    tour.visit("undo asked", f"{path}/undo", data={})
    link = tour.link("undo")
    tour.visit("undo", link)
    tour.visit("undo too late", link, 410, later=True)
    tour.visit("undone", link, data={})
    tour.visit("undone before", link)
    tour.visit("left again", path, data={})
    assert undo
    with world.database.write() as session:
        token = one_time_tokens.issue_token(session, "my data", bo, now=NOW, expires_at=NOW + timedelta(days=1))
    tour.visit("my data, left", f"/my-data/{token}")
    tour.visit("erased", f"/my-data/{token}/erase", data={})
    tour.visit("erased before", f"/my-data/{token}", 410)
    tour.visit("not on the list", path)


def _meet_errors(tour: SubscriberPages) -> None:
    tour.visit("unknown link", "/confirm/AAAAAAAAAAAAAAAAAAAAAA", 404)
    tour.visit("404", "/no-such-page", 404)
    tour.visit("405", "/", 405, data={})
    tour.visit("413", "/contact", 413, data={"message": "x" * 70_000})
