"""The weight of the pages that newcomers see: bytes and requests, counted from the HTML and its links, as served."""

import re
from dataclasses import replace
from typing import Any

from lxml import html as lxml_html

from digest.edition.content.edition_content import EditionContent
from digest.store.models import EditionState

MOST_BYTES, MOST_REQUESTS = 60 * 1024, 6
# What a browser asks for by itself when it shows a page.
SHOWN = (
    "//link[contains(' stylesheet icon preload modulepreload manifest apple-touch-icon ', concat(' ', @rel, ' '))]/@href",
    *("//script/@src", "//img/@src", "//img/@srcset", "//source/@srcset", "//iframe/@src", "//video/@src"),
)


def gather_requests(client: Any, path: str) -> dict[str, bytes]:
    """Ask for a page and for all that a browser fetches with it, style sheets' own files too; leave out the edition's pictures."""
    answers: dict[str, bytes] = {}
    page = lxml_html.document_fromstring(client.get(path).text)
    waiting = [path, *(address.split()[0] for query in SHOWN for address in page.xpath(query))]
    while waiting:
        address = waiting.pop()
        if address in answers or address.startswith(("data:", "/media/")):
            continue
        answer = client.get(address)
        assert answer.status_code == 200, address
        answers[address] = answer.data
        if answer.mimetype == "text/css":
            waiting += re.findall(r"""url\(["']?([^"')]+)""", answer.text) + re.findall(
                r'@import "([^"]+)"', answer.text
            )
    return answers


def test_home_edition_and_sign_up_are_light(world: Any, full_content: EditionContent) -> None:
    content = replace(full_content, name="2026-W47", number=147)
    assert sum(len(section.entries) for section in content.sections) >= 25
    world.edition(state=EditionState.SENT, content=content)
    for path in ("/", "/editions/2026-W47", "/subscribe"):
        answers = gather_requests(world.client, path)
        assert len(answers) >= 2, "the page and its style sheet"
        assert len(answers) <= MOST_REQUESTS, (path, sorted(answers))
        assert sum(map(len, answers.values())) <= MOST_BYTES, (
            path,
            {name: len(body) for name, body in answers.items()},
        )
