"""What the usual way of doing the same work reaches on this machine: plain code over the same libraries.

Each is the way that a library's own documentation shows, without delivery counts, encryption, or consent: less than we do. They are
measured in the same run as ours, so that a ratio holds on any machine.

Each imports its libraries itself: none of them is in the memory of another's process, and Premailer keeps what it parsed as the
product has it keep it, whichever of the two renders first.
"""

import csv
import json
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.peak_memory import peak_memory_mb
from benchmarks.sample_installation import edition_bodies
from digest.store.engine import open_database
from subscribers.store.models import Person

ROWS_PER_COMMIT = 1000  # rows


class PeerBase(DeclarativeBase):
    """The peers' own tables."""


class PeerContact(PeerBase):
    """A person of a list, the address in clear, as most programs keep it."""

    __tablename__ = "contact"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    confirmed_at: Mapped[datetime]
    confirmed_ip: Mapped[str] = mapped_column(String(45))


class PeerEvent(PeerBase):
    """An event of a provider."""

    __tablename__ = "happened"

    id: Mapped[int] = mapped_column(primary_key=True)
    mark: Mapped[str] = mapped_column(String(100), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    body: Mapped[str]


def send_with_smtplib(port: int, subscribers: int) -> float:
    """Build a message of 40 KB a reader with `email` and send it with `smtplib`, one connection; messages a second."""
    texts = edition_bodies()
    began = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port) as server:
        for number in range(subscribers):
            message = EmailMessage()
            message["From"], message["To"] = "digest@news.example.org", f"reader{number}@example.org"
            message["Subject"], message["Date"] = "Ports reopen, and six more stories", formatdate()
            message["Message-ID"] = make_msgid(domain="news.example.org")
            message["List-Unsubscribe"] = f"<https://news.example.org/u/{number}>"
            message.set_content(texts["text"])
            message.add_alternative(texts["html"], subtype="html")
            server.send_message(message)
    return subscribers / (time.perf_counter() - began)


def render_per_subscriber(subscribers: int) -> tuple[float, float]:
    """Render a page of 40 KB a reader with Jinja2, and inline its CSS with premailer; µs of each a reader."""
    from jinja2 import Environment
    from premailer import transform

    page = Environment(autoescape=True).from_string(
        "<html><head><style>td{padding:0 0 12px}</style></head><body><table>{% for story in stories %}"
        "<tr><td>{{ story }}</td></tr>{% endfor %}</table><p><a href='{{ leave }}'>Leave</a></p></body></html>"
    )
    stories = ["A story in a few words, as they stand in a digest of the week: é, and where it was read."] * 400
    began = time.perf_counter()
    for number in range(subscribers):
        html = page.render(stories=stories, leave=f"https://news.example.org/u/{number}")
    rendered = time.perf_counter()
    inlined = max(1, subscribers // 100)
    for _ in range(inlined):
        transform(html)
    return (rendered - began) / subscribers * 1e6, (time.perf_counter() - rendered) / inlined * 1e6


def send_with_sendgrid_helpers(host: str, subscribers: int, batch_size: int) -> float:
    """Hand readers over in batches with the official package's own helpers; readers a second."""
    import sendgrid
    from sendgrid.helpers.mail import From, Header, Mail, Personalization, Substitution, To

    texts = edition_bodies()
    client = sendgrid.SendGridAPIClient(api_key="SG.bench", host=host)
    began = time.perf_counter()
    for first in range(0, subscribers, batch_size):
        mail = Mail(
            from_email=From("digest@news.example.org"),
            subject="Ports reopen, and six more stories",
            plain_text_content=texts["text"],
            html_content=texts["html"],
        )
        for number in range(first, min(first + batch_size, subscribers)):
            one = Personalization()
            one.add_to(To(f"reader{number}@example.org"))
            one.add_header(Header("List-Unsubscribe", f"<https://news.example.org/u/{number}>"))
            one.add_substitution(Substitution("-leave-", f"https://news.example.org/u/{number}"))
            mail.add_personalization(one)
        client.send(mail)
    return subscribers / (time.perf_counter() - began)


def import_with_orm(path: Path, rows: int) -> float:
    """Read so many rows of a list, judge the addresses, and add each as an object of the ORM; rows a second."""
    from email_validator import validate_email

    with tempfile.TemporaryDirectory() as folder, path.open(newline="") as file:
        engine = create_engine(f"sqlite:///{folder}/peer.db")
        PeerBase.metadata.create_all(engine)
        began, count = time.perf_counter(), 0
        with Session(engine) as session:
            for count, row in enumerate(csv.DictReader(file), start=1):
                address = validate_email(row["Email Address"], check_deliverability=False)
                session.add(
                    PeerContact(
                        email=address.normalized,
                        name=row["First Name"],
                        confirmed_at=datetime.fromisoformat(row["CONFIRM_TIME"]),
                        confirmed_ip=row["CONFIRM_IP"],
                    )
                )
                if not count % ROWS_PER_COMMIT:
                    session.commit()
                if count == rows:
                    break
            session.commit()
        took = time.perf_counter() - began
        engine.dispose()
    return count / took


def receive_with_flask(posts: Iterable[tuple[bytes, Mapping[str, str]]]) -> float:
    """Take posts of events in a page of Flask that adds each as an object of the ORM, unproved; posts a second."""
    from flask import Flask, request

    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/peer.db")
        PeerBase.metadata.create_all(engine)
        app = Flask(__name__)

        @app.post("/events")
        def take() -> str:
            with Session(engine) as session:
                for event in request.get_json():
                    session.add(PeerEvent(mark=event["sg_event_id"], kind=event["event"], body=json.dumps(event)))
                session.commit()
            return "ok"

        client, began, count = app.test_client(), time.perf_counter(), 0
        for body, _ in posts:
            count += client.post("/events", data=body, content_type="application/json").status_code == 200
        took = time.perf_counter() - began
        engine.dispose()
    return count / took


def parse_with_feedparser(documents: Iterable[bytes]) -> float:
    """Parse feeds with feedparser and do nothing with what they say; seconds of CPU."""
    import feedparser

    began = time.process_time()
    for document in documents:
        assert feedparser.parse(document).entries
    return time.process_time() - began


def hold_list_in_memory(url: str) -> float:
    """Hold the whole list as objects of the ORM, as who calls `.all()` does; MB at the peak of its process."""
    command = [sys.executable, "-m", "benchmarks.peers", url]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    _database = open_database(sys.argv[1])
    with _database.read() as _session:
        _held = _session.scalars(select(Person)).all()
    print(peak_memory_mb())
    _database.close()
