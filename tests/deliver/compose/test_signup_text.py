"""The sentence on why someone gets the email: complete, in any script, in both parts, with every provider."""

import unicodedata
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.deliver.compose.dkim import are_canonical_values
from digest.deliver.compose.message import BODY_SLOTS, MessageTemplate, PlaceholderValues, splice_message
from digest.deliver.compose.variants import format_signup_text
from digest.edition.content.slotted_text import SIGNUP_SLOT, SlottedText
from digest.edition.rendering.sanitizer import sanitize_text
from digest.edition.rendering.text_lines import measure_text_width
from subscribers.subscriber_language import ENGLISH
from tests.deliver.conftest import DATE_VALUE
from tests.deliver.message_lint import message_faults

ASKED_AT = datetime(2026, 9, 24, 16, tzinfo=UTC)
ZONE = ZoneInfo("America/New_York")
BEGINNING = "You signed up for this weekly email on "
TEMPLATE = MessageTemplate(
    subject="Ports reopen",
    sender_name="HLS.Today",
    sender_address="digest@news.example.org",
    reply_to="editors@news.example.org",
    text=SlottedText.from_parts([f"One line.\n{BEGINNING}", SIGNUP_SLOT, ".\nNo pixel.\n"]),
    html=SlottedText.from_parts([f"<p>{BEGINNING}", SIGNUP_SLOT, ".</p>"]),
    list_id=("HLS.Today", "weekly.news.example.org"),
    unsubscribe_url_prefix="https://news.example.org/u/",
    extra_headers={"List-Post": "NO"},
)
PLACES = {
    "French": "réunion à l'Hôtel de Ville d'Évreux, salle des fêtes, sur la liste de Monsieur Lefèvre-Dubois & fils",
    "Arabic": "ورشة العمل السنوية لأمن الموانئ والمطارات في مركز المؤتمرات بمدينة الدار البيضاء، القاعة الكبرى",
    "Hebrew": "הכנס השנתי לביטחון הנמלים והתחבורה הימית, אולם הכניסה הראשי של מרכז הקונגרסים בחיפה והסביבה",
    "Chinese": "二〇二六年全国港口安全研讨会暨应急管理技术交流大会报名登记表上海国际会议中心三楼宴会厅东侧签到处第二窗口",
    "Japanese": "港湾セキュリティ年次シンポジウム受付デスク、パシフィコ横浜会議センター三階が\u3099くふ\u3099ホール前",
    "Hindi": "बंदरगाह सुरक्षा की वार्षिक संगोष्ठी, पंजीकरण पटल, विज्ञान भवन, नई दिल्ली, मुख्य सभागार के सामने",
    "markup": '<b>"AT&T"</b> = .From a fair, a very long name that goes on and on & on until it has filled two lines',
}


def message_with(place: str) -> tuple[bytes, EmailMessage, PlaceholderValues]:
    filled = PlaceholderValues(
        "ada@example.org",
        "<1@x.example.org>",
        DATE_VALUE,
        "l" * 22,
        "p" * 22,
        format_signup_text(ASKED_AT, place, ZONE, ENGLISH),
    )
    raw = splice_message(TEMPLATE, filled)
    return raw, message_from_bytes(raw, policy=policy.default), filled


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_it_is_whole_in_any_script_and_folded_between_words_alone(place: str) -> None:
    raw, message, filled = message_with(place)
    assert list(message_faults(raw)) == []
    lines = part(message, "plain").splitlines()
    sentence = lines[1:-1]
    assert len(sentence) >= 2
    assert all(measure_text_width(line) <= 73 for line in sentence), "72, and the full stop"
    whole = f"{BEGINNING}September 24, 2026, at {place}."
    assert "".join(sentence).replace(" ", "") == whole.replace(" ", "")
    for line in sentence[1:]:
        assert unicodedata.combining(line[0]) == 0
        assert unicodedata.category(line[0])[0] in "LNPS", "no mark is parted from its letter"
    words = {word for line in sentence for word in line.split()}
    if not any(unicodedata.east_asian_width(letter) == "W" for letter in place):
        assert words == set(whole.split()), "no word is broken"
    assert unescape(part(message, "html")) == f"<p>{whole}</p>\n"
    assert are_canonical_values(filled.encode_slot_values(TEMPLATE.signup_column)), (
        "so that it is signed on the short way"
    )


def test_a_provider_that_fills_in_itself_gets_plain_words_for_the_text_and_escaped_ones_for_the_html() -> None:
    _, _, filled = message_with(PLACES["markup"])
    values = dict(zip(BODY_SLOTS, filled.format_body_values(TEMPLATE.signup_column), strict=True))
    (_, plain_slot), (_, html_slot) = (slot for text in TEMPLATE.body_texts for slot in text.slots)
    plain, html = values[plain_slot], values[html_slot]
    assert plain.replace("\n", " ") == unescape(html) == filled.signup_text
    assert "&lt;b&gt;" in html


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_whatever_a_place_is_called_the_message_is_sound_and_says_it(place: str) -> None:
    raw, message, filled = message_with(place)
    assert list(message_faults(raw)) == []
    named = sanitize_text(place)
    assert unescape(part(message, "html")).count(named) >= 1
    sentence = part(message, "plain").removeprefix("One line.\n").removesuffix("\nNo pixel.\n")
    assert "".join(sentence.split()) == "".join(f"{BEGINNING}{filled.signup_text}.".split())
