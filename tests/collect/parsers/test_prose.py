"""The text of posts as Gutenberg, the Classic editor, Elementor, and Divi render them, without its surroundings."""

import json
import re
from datetime import UTC, datetime
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.documents.parsed_document import ParsedItem, SummaryBasis
from digest.collect.parsers import parse_document
from digest.collect.parsers.prose import extract_prose, list_paragraphs

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = "The harbor board closed two terminals on Monday after inspectors found modems nobody had listed."
SECOND = "Crews will check every crane by hand, and the terminals reopen once the list is complete."
PROSE = f"{FIRST} {SECOND}"

# As the block editor's stylesheet and the rendered posts of a site with its sign-up, button, table, and quote blocks have them.
GUTENBERG = f"""
<div class="wp-block-jetpack-subscriptions__supports-newline wp-block-jetpack-subscriptions">
<div class="wp-block-jetpack-subscriptions__container is-not-subscriber"><form action="https://wordpress.com/email-subscriptions" method="post">
<p id="subscribe-email"><label for="subscribe-field">Your email</label> <input type="email" name="email" placeholder="Type your email…"></p>
<p id="subscribe-submit"><button type="submit" class="wp-block-button__link">Send me the confirmation</button></p>
<p style="display: none !important">Leave this field empty if you are human: <input type="text"></p></form></div></div>
<figure class="wp-block-table"><table><thead><tr><th>Terminal</th><th>Modems</th></tr></thead>
<tbody><tr><td>Pier 7</td><td>14 modems were found in the first hour.</td></tr></tbody></table><figcaption>Counts of Monday morning.</figcaption></figure>
<figure class="wp-block-pullquote"><blockquote><p>We never knew that they were there at all.</p><cite>A crane operator</cite></blockquote></figure>
<blockquote class="wp-block-quote is-layout-flow"><p>A list is where safety begins, every single time.</p></blockquote>
<div class="wp-block-buttons is-layout-flex"><div class="wp-block-button"><a class="wp-block-button__link wp-element-button" href="/map">See the map of all terminals.</a></div></div>
<h2 class="wp-block-heading">What happened at the harbor on Monday?</h2>
<p class="has-drop-cap">{FIRST}</p>
<p>{SECOND}</p>
"""
# What wpautop makes of a text, with a caption, a plug-in's form, and a shortcode that no plug-in replaced.
CLASSIC = f"""
<div id="attachment_9" style="width: 310px" class="wp-caption alignright"><img src="/crane.jpg"><p class="wp-caption-text">A crane at Pier 7 on Monday morning.</p></div>
<p>[contact-form-7 id="12" title="Ask us"]</p>
<form id="mc4wp-form-1" class="mc4wp-form" method="post"><div class="mc4wp-form-fields"><p><label>Email address: <input type="email"></label></p></div></form>
<p>[gallery ids="1,2,3"]<br />
{FIRST}</p>
<p>{SECOND}[/vc_column_text]</p>
<div class="sharedaddy sd-sharing-enabled"><h3>Share this:</h3><ul><li>Click to share on Facebook (Opens in new window)</li></ul></div>
"""
ELEMENTOR = f"""
<div data-elementor-type="wp-post" class="elementor elementor-77"><section class="elementor-section elementor-top-section"><div class="elementor-container">
<div class="elementor-element elementor-widget elementor-widget-heading"><div class="elementor-widget-container"><h2 class="elementor-heading-title">What the inspectors found at the harbor.</h2></div></div>
<div class="elementor-element elementor-widget elementor-widget-form"><div class="elementor-widget-container"><form class="elementor-form"><div class="elementor-form-fields-wrapper"><label class="elementor-field-label">Your email</label><button type="submit"><span class="elementor-button-text">Send</span></button></div></form></div></div>
<div class="elementor-element elementor-widget elementor-widget-blockquote"><div class="elementor-widget-container"><blockquote class="elementor-blockquote"><p class="elementor-blockquote__content">We never knew that they were there at all.</p></blockquote></div></div>
<div class="elementor-element elementor-widget elementor-widget-button"><div class="elementor-widget-container"><div class="elementor-button-wrapper"><a class="elementor-button elementor-button-link" href="/m"><span class="elementor-button-content-wrapper"><span class="elementor-button-text">See the map of all terminals.</span></span></a></div></div></div>
<div class="elementor-element elementor-widget elementor-widget-testimonial"><div class="elementor-testimonial-wrapper"><div class="elementor-testimonial-content">They checked my crane twice in a day.</div></div></div>
<div class="elementor-element elementor-widget elementor-widget-text-editor"><div class="elementor-widget-container"><p>{FIRST}</p><p>{SECOND}</p></div></div>
</div></section></div>
"""
DIVI = f"""
<div class="et_pb_section et_pb_section_0 et_section_regular"><div class="et_pb_row et_pb_row_0"><div class="et_pb_column et_pb_column_4_4">
<div class="et_pb_module et_pb_signup_0 et_pb_newsletter_layout_left_right et_pb_newsletter et_pb_subscribe"><div class="et_pb_newsletter_description"><h2 class="et_pb_module_header">Stay informed</h2><div><p>Every Friday we write to you about ports and their cranes.</p></div></div><div class="et_pb_newsletter_form"><form method="post"><p class="et_pb_newsletter_field"><label>Email</label><input type="text"></p></form></div></div>
<div class="et_pb_button_module_wrapper et_pb_module"><a class="et_pb_button et_pb_bg_layout_light" href="/m">See the map of all terminals.</a></div>
<div class="et_pb_module et_pb_testimonial et_pb_testimonial_0"><div class="et_pb_testimonial_description"><div class="et_pb_testimonial_content"><p>They checked my crane twice in a day.</p></div></div></div>
<div class="et_pb_module et_pb_text et_pb_text_0"><div class="et_pb_text_inner"><p>[et_pb_section fb_built=&#8221;1&#8243; _builder_version=&#8221;4.16&#8243;]{FIRST}</p><p>{SECOND}[/et_pb_section]</p></div></div>
</div></div></div>
"""
BUILDERS = {"Gutenberg": GUTENBERG, "Classic": CLASSIC, "Elementor": ELEMENTOR, "Divi": DIVI}


def stripped(markup: str) -> str:
    """Give the excerpt that WordPress makes of a post: its words without tags, 55 at most."""
    return " ".join(re.sub(r"<[^>]*>", "", re.sub(r"\[[^\]]*\]", "", markup)).split()[:55]) + " [&hellip;]"


def read_post(content: str, excerpt: str) -> ParsedItem:
    post = {
        "date": "2026-11-19T10:00:00",
        "link": "https://www.example.org/modems",
        "title": {"rendered": "Modems found at the harbor"},
        "excerpt": {"rendered": excerpt},
        "content": {"rendered": content},
    }
    (item,) = parse_document(json.dumps([post]).encode(), url="https://www.example.org/", now=NOW).items
    return item


@pytest.mark.parametrize("markup", BUILDERS.values(), ids=BUILDERS)
def test_prose_is_what_the_author_wrote(markup: str) -> None:
    assert list_paragraphs(markup) == [FIRST, SECOND]
    assert extract_prose(markup) == PROSE


@pytest.mark.parametrize("markup", BUILDERS.values(), ids=BUILDERS)
def test_an_excerpt_that_wordpress_made_of_everything_gives_way_to_prose(markup: str) -> None:
    item = read_post(markup, f"<p>{stripped(markup)}</p>")
    assert (item.summary, item.summary_basis) == (PROSE, SummaryBasis.OPENING)
    assert read_post(markup, "").summary == PROSE


def test_an_excerpt_of_prose_and_one_that_an_author_wrote_stay() -> None:
    written = "Two terminals are closed until every modem on their cranes is on a list."
    item = read_post(GUTENBERG, f"<p>{written}</p>")
    assert (item.summary, item.summary_basis) == (written, SummaryBasis.DESCRIPTION)
    cut = read_post(f"<p>{FIRST}</p><p>{SECOND}</p>", f"<p>{FIRST} Crews will [&hellip;]</p>")
    assert cut.summary == f"{FIRST} Crews will…"


@pytest.mark.parametrize(
    ("markup", "prose"),
    [
        ("<p>Two terminals closed today</p><p>Crews check every crane.</p>", "Two terminals closed today. Crews check every crane."),
        ("<p>Two terminals closed today,</p><p>and crews check every crane.</p>", "Two terminals closed today, and crews check every crane."),
        ("A first line of this text.<br><br>The second one of it.", "A first line of this text. The second one of it."),
        ("<p>Two dead.</p>", "Two dead."),
        ("<ul><li>Pier 7 is closed</li><li>Pier 9 is open</li></ul>", "Pier 7 is closed. Pier 9 is open"),
        ("<p>By Ada Quill</p><p>The port [sic] closed on [Monday] for 2 days.</p>", "The port [sic] closed on [Monday] for 2 days."),
        ("<p>By Wednesday 131 plants were behind a locked door.</p>", "By Wednesday 131 plants were behind a locked door."),
        ("<p>Sign up for our weekly letter on ports</p><p>The port closed on Monday.</p>", "The port closed on Monday."),
        ('<div class="newsletter-issue"><p>The port closed on Monday.</p></div>', "The port closed on Monday."),
        ("<!-- wp:paragraph --><p>The port<!-- x --> closed on Monday.</p>", "The port closed on Monday."),
        ("&lt;p&gt;The port closed again.&lt;/p&gt;&lt;p&gt;It opens soon, crews say.&lt;/p&gt;", "The port closed again. It opens soon, crews say."),
        ("[caption id='a' width='3']<img> A crane[/caption]<p>The port closed on Monday.</p>", "The port closed on Monday."),
        ("<form>Your email <input> Leave this empty</form>", ""),
        ("plain text &amp; x < y", "plain text & x < y"),
        ("", ""),
    ],
)  # fmt: skip
def test_blocks_stay_apart_and_what_is_no_prose_goes(markup: str, prose: str) -> None:
    assert extract_prose(markup) == prose


_PARTS = st.sampled_from(
    ("<p>", "</p>", "<div>", "</div>", "<form>", "<table>", "</table>", "<br>", "<", ">", "[a b=", "]", "[/x]", "&#0;", "\0", "ü", " a b c d.")
)  # fmt: skip


@given(st.lists(_PARTS, max_size=60).map("".join) | st.text(max_size=200))
def test_any_markup_gives_prose_of_its_own_words(markup: str) -> None:
    prose = extract_prose(markup)
    assert "<p>" not in prose
    assert "\n" not in prose


@pytest.mark.parametrize(
    "part", ["<div>", "<p>a", "<table><tr><td>", "[a ", "[caption]", "<form class='newsletter'>", "<", "&lt;p&gt;", "[a b=c"]
)  # fmt: skip
def test_a_huge_or_deep_text_takes_bounded_time(part: str) -> None:
    started = process_time()
    extract_prose(part * 100_000)
    assert process_time() - started < 2
