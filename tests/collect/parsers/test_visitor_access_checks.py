"""Items and pages that visitors can't read, in all the forms in which documents say so."""

import json
from typing import Any

import pytest

from digest.collect.documents.parsed_document import SIGN_IN, ParsedDocument
from digest.collect.parsers import parse_document
from digest.collect.parsers.page import explain_unreadable_page
from digest.collect.parsers.visitor_access_checks import MISSING, PROTECTED
from digest.collect.sandbox.client import read_article_page_in_child
from tests.moments import AFTER_RELEASE as NOW

SITE = "https://www.example.org"
# Title and excerpt of a password-protected post as WordPress's own catalogs translate them.
STOCK_TEXTS = {
    "en": ("Protected: Harbor drill", "There is no excerpt because this is a protected post."),
    "fr": ("Protégé : Exercice au port", "Il n\u2019y a pas d\u2019extrait, car cette publication est protégée."),
    "de": ("Geschützt: Hafenübung", "Es gibt keinen Textauszug, da dies ein geschützter Beitrag ist."),
    "es": ("Protegido: Simulacro", "No hay extracto porque es una entrada protegida."),
    "it": ("Protetto: Prova", "Non è disponibile alcun riassunto in quanto si tratta di un articolo protetto."),
    "sv": ("Skyddad: Övning", "Det finns inget utdrag eftersom detta är ett skyddat inlägg."),
    # What stands above the form; feeds that drop forms keep it.
    "en form": ("Drill", "This content is password-protected. To view it, please enter the password below."),
    "en old form": ("Drill", "This content is password protected. To view it please enter your password below:"),
    "pt form": ("Exercício", "Este conteúdo está protegido por senha. Para vê-lo, digite sua senha abaixo:"),
    "ja form": (
        "訓練",
        "このコンテンツはパスワードで保護されています。<br />閲覧するには以下にパスワードを入力してください。",
    ),
}
FORM = (
    '<form action="https://www.example.org/wp-login.php?action=postpass" class="post-password-form" method="post">'
    '<p>Wachtwoord:</p><input name="post_password" type="password"></form>'
)


def read_posts(*posts: dict[str, Any]) -> ParsedDocument:
    shared = {"date": "2026-11-19T05:00:00", "date_gmt": "2026-11-19T10:00:00", "status": "publish"}
    body = json.dumps([shared | {"link": f"{SITE}/{n}/"} | post for n, post in enumerate(posts)]).encode()
    return parse_document(body, url=f"{SITE}/wp-json/wp/v2/posts", now=NOW)


def read_rss(title: str, description: str, content: str = "") -> ParsedDocument:
    encoded = f"<content:encoded><![CDATA[{content}]]></content:encoded>" if content else ""
    feed = (
        '<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel><title>Port</title>'
        f"<item><title>{title}</title><link>{SITE}/drill/?utm_source=rss</link>"
        f"<description><![CDATA[{description}]]></description>{encoded}</item></channel></rss>"
    )
    return parse_document(feed.encode(), url=f"{SITE}/feed/", now=NOW)


def rejections(document: ParsedDocument) -> list[tuple[int, str, str]]:
    return [(entry.place, entry.reason, entry.withheld_url) for entry in document.rejected]


def test_a_protected_post_of_wordpress_is_left_out_and_named_by_its_url() -> None:
    hidden = {"rendered": "", "protected": True}
    document = read_posts(
        {"title": {"rendered": "Open"}, "content": {"rendered": "<p>Text.</p>", "protected": False}},
        {"title": {"rendered": "Protected: Drill"}, "content": hidden, "excerpt": hidden},
        {"title": {"rendered": "Drill"}, "excerpt": {"rendered": "<p>Told in short.</p>", "protected": True}},
        {"title": {"rendered": "Memo"}, "status": "private"},
    )
    assert [item.title for item in document.items] == ["Open"]
    assert rejections(document) == [
        (2, "not public: it's password-protected", f"{SITE}/1/"),
        (3, "not public: it's password-protected", f"{SITE}/2/"),
        (4, "not public: the status is 'private'", f"{SITE}/3/"),
    ]


@pytest.mark.parametrize("language", STOCK_TEXTS)
def test_the_stock_excerpt_of_a_protected_post_never_becomes_a_summary(language: str) -> None:
    title, excerpt = STOCK_TEXTS[language]
    for shown in (title, "Harbor drill"):  # a theme may drop the prefix of the title
        document = read_rss(shown, f"<p>{excerpt}</p>\n")
        assert document.items == ()
        assert rejections(document) == [(1, "not public: it's password-protected", f"{SITE}/drill/")]


def test_what_a_plugin_adds_to_the_stock_excerpt_does_not_hide_it() -> None:
    footer = (
        f'<p>The post <a href="{SITE}/drill/">Protected: Drill</a> appeared first on <a href="{SITE}">Port</a>.</p>'
    )
    document = read_rss("Protected: Drill", f"<p>There is no excerpt because this is a protected post.</p>{footer}")
    assert rejections(document) == [(1, "not public: it's password-protected", f"{SITE}/drill/")]


def test_a_password_form_in_a_feed_tells_in_any_language() -> None:
    document = read_rss("Beschermd: Oefening", "Er is geen samenvatting.", FORM)
    assert rejections(document) == [(1, "not public: it's password-protected", f"{SITE}/drill/")]


@pytest.mark.parametrize(
    ("title", "summary", "content"),
    [
        ("Protected: how the harbor keeps its divers safe", "Divers got new suits on Monday, the port said.", ""),
        ("Protected: a rare bird", "", ""),
        (
            "Files leaked",
            "“This content is password-protected. To view it, please enter the password below.” It said so.",
            "",
        ),
        ("Passwords", "This content is password-protected, said the notice. To view it, people typed “1234”.", ""),
        ("Private: the life of a spy", "A book tells of a life in the service of two states.", ""),
        (
            "What WordPress tells visitors",
            "The text “There is no excerpt because this is a protected post.” puzzles many readers of feeds.",
            "",
        ),
        (
            "How to style the form",
            "The class of the form is named in the theme.",
            "<p>Style <code>&lt;form class=&quot;post-password-form&quot;&gt;</code> in your theme.</p>",
        ),
    ],
)
def test_an_article_that_only_speaks_of_protection_is_kept(title: str, summary: str, content: str) -> None:
    document = read_rss(title, summary, content)
    assert [item.title for item in document.items] == [title]
    assert document.rejected == ()


LONG_TEXT = "".join(
    f"<p>The port opened basin {n} again after the storm had kept it shut for days.</p>" for n in range(12)
)
DECLARED = '<meta property="og:type" content="article">'
LOGIN_FORM = '<form action="/login" method="post"><input name="user"><input type="Password" name="pw"></form>'
TEASER = "<p>The port opened again on Monday. Read on with a subscription.</p>" * 8


SIGN_ON = '<a href="https://id.example.net/start?to=port">Continue with Harborline</a>'
EMAIL_FORM = '<form action="/next"><input type="email" name="email"><button>Next</button></form>'
TERMS = "<p>Members of the port association read every notice on the day it is written.</p>" * 9  # 126 words


def page(body: str, head: str = "<title>Port reopens</title>", attributes: str = "") -> bytes:
    return f"<!doctype html><html><head>{head}</head><body {attributes}>{body}</body></html>".encode()


WITHHELD_PAGES = {
    "a WordPress password form": (page(f"<h1>Protected: Drill</h1>{FORM}", DECLARED), PROTECTED),
    "a theme's own password form": (page('<form><input type="password" name="post_password"></form>'), PROTECTED),
    "a form of another language": (page(f"<article><h1>Beschermd: Oefening</h1>{FORM}</article>"), PROTECTED),
    "a sign-in page": (page(f"<h1>Members</h1><p>Please sign in.</p>{LOGIN_FORM}"), SIGN_IN),
    "a declared article that is only a sign-in form": (page(f"<h1>Drill</h1>{LOGIN_FORM}", DECLARED), SIGN_IN),
    "single sign-on": (page(f"<main><h1>Welcome</h1>{SIGN_ON}</main>", "<title>Sign in | Port News</title>"), SIGN_IN),
    "an address first": (
        page(f"<h1>Welcome back</h1>{EMAIL_FORM}", "<title>Log in to Port News - Port News</title>"),
        SIGN_IN,
    ),
    "a heading that asks to sign in": (page(f"<h1>Please sign in to read this article.</h1>{EMAIL_FORM}"), SIGN_IN),
    "a password beside a text on membership": (
        page(f"<h1>Members</h1>{TERMS}{LOGIN_FORM}", "<title>Log in \u2013 Port News</title>"),
        SIGN_IN,
    ),
    "a password below a heading and a text": (page(f"<h1>Member login</h1>{TERMS}{LOGIN_FORM}"), SIGN_IN),
    "a French sign-in page": (page(f"<h1>Connectez-vous</h1>{EMAIL_FORM}", "<title>Le Port</title>"), SIGN_IN),
    "a German sign-in page": (page(SIGN_ON, "<title>Anmelden | Der Hafen</title>"), SIGN_IN),
    "a sign-in page that a plugin declares an article": (
        page(f"<h1>Log In</h1>{EMAIL_FORM}", f"<title>Log In - Port News</title>{DECLARED}"),
        SIGN_IN,
    ),
    "WordPress's own not-found page": (page(f"<h1>Oops!</h1>{LONG_TEXT}", attributes='class="blog error404"'), MISSING),
    "a heading": (page("<h1>Page not found</h1><p>Try the search.</p>"), MISSING),
    "a title": (page("<p>Try the search.</p>", "<title>Page not found \u2013 Port News</title>"), MISSING),
    "a French title": (page("<p>Cherchez.</p>", "<title>Page non trouvée - Le Port</title>"), MISSING),
    "a German heading": (page("<h1>Seite nicht gefunden</h1>"), MISSING),
    "a Spanish heading": (page("<h1>No se encontró la página</h1>"), MISSING),
    "an apostrophe": (page("<h1>Oops! That page can&rsquo;t be found.</h1>"), MISSING),
    "a bare number": (page("<h1>404</h1>"), MISSING),
    "an apology": (page("<h1>Sorry, page not found</h1>"), MISSING),
    "an unavailable page": (page("<h1>Sorry, this page isn&rsquo;t available.</h1>"), MISSING),
    "what we can't find": (page("<h1>We can't find the page you're looking for.</h1>"), MISSING),
    "what is looked for": (page("<h1>The page you are looking for doesn't exist.</h1>"), MISSING),
    "a removed article": (page("<h1>This article has been removed.</h1>"), MISSING),
    "a heading below the site's name": (
        page("<h1>Port News</h1><h2>Page not found</h2>", "<title>Page not found - Port News</title>"),
        MISSING,
    ),
}
PUBLIC_PAGES = {
    "an article on signing in": page(
        f"<h1>Sign in with a smile</h1>{TERMS}{EMAIL_FORM}", "<title>Sign in with a smile</title>"
    ),
    "a short article with a letter to order": page(f"<h1>Port reopens</h1><p>News.</p>{EMAIL_FORM}"),
    "an article before a form for comments": page(f"<h1>Port reopens</h1><p>News.</p><h2>Log in</h2>{SIGN_ON}"),
    "an article below the heading of a dialog": page(
        f'<div class="modal"><h1>Log In</h1>{LOGIN_FORM}</div><h1>Port reopens</h1>{LONG_TEXT}',
        "<title>Port reopens</title>",
    ),
    "an article below the heading of a sign-in box": page(f"<h1>Log In</h1>{EMAIL_FORM}<h1>Port reopens</h1>{TERMS}"),
    "a help page on signing in": page(f"<h1>Sign in</h1>{LONG_TEXT}", "<title>Sign in | Help</title>"),
    "a long help page on signing in": page(
        f"<h1>Sign in</h1>{LONG_TEXT * 2}{SIGN_ON}", "<title>Sign in | Help</title>"
    ),
    "a declared article called Log in": page(f"<h1>Log in</h1>{TERMS}{EMAIL_FORM}", f"<title>Log in</title>{DECLARED}"),
    "an article on apologies": page("<h1>Sorry, page not found: how links rot</h1>", "<title>Links rot - News</title>"),
    "an article on a search": page("<h1>We can't find the page you're looking for, says the archive</h1>"),
    "an article on a removal": page("<h1>This article has been removed from the collection of the museum</h1>"),
    "an article with a box for a page not found": page("<h1>Links rot</h1><h2>Page not found</h2>"),
    "an article": page(f"<article><h1>Port reopens</h1>{LONG_TEXT}</article>"),
    "an article with a sign-in form in its header": page(f"<header>{LOGIN_FORM}</header><h1>Short</h1><p>News.</p>"),
    "a hidden sign-in dialog": page(f'<h1>Short</h1><p>News.</p><div class="login-modal">{LOGIN_FORM}</div>'),
    "a form that a style hides": page(f'<p>News.</p><div style="display: none">{LOGIN_FORM}</div>'),
    "a long page with a sign-in form": page(f"<h1>Port reopens</h1>{LONG_TEXT}{LOGIN_FORM}"),
    "a metered article": page(f"<h1>Port reopens</h1>{TEASER}{LOGIN_FORM}", DECLARED),
    "a paid article that says so": page(
        f'<h1>Port</h1>{TEASER}<script type="application/ld+json">{{"@type": "NewsArticle", "isAccessibleForFree": false}}</script>'
    ),
    "an article titled like a protected post": page(f"<h1>Protected: how the harbor keeps divers safe</h1>{LONG_TEXT}"),
    "an article about a missing page": page(f"<h1>Page not found: how links rot</h1>{LONG_TEXT}"),
    "an article called Not found": page(f"<h1>Not found</h1>{LONG_TEXT}", DECLARED),
    "an article about a number": page(f"<h1>404 ships passed the canal</h1>{LONG_TEXT}"),
    "a text about the form": page(f"<h1>Forms</h1>{LONG_TEXT}<pre>&lt;form class='post-password-form'&gt;</pre>"),
    "no page": b"here",
    "bytes": b"\x00\xff" * 99,
}


@pytest.mark.parametrize("case", WITHHELD_PAGES)
def test_a_page_that_a_visitor_cannot_read_says_why(case: str) -> None:
    body, reason = WITHHELD_PAGES[case]
    assert explain_unreadable_page(body, charset="utf-8") == reason
    said = read_article_page_in_child(body, charset="utf-8")
    assert said.barrier == reason


@pytest.mark.parametrize("case", PUBLIC_PAGES)
def test_a_page_that_a_visitor_can_read_has_no_barrier(case: str) -> None:
    assert explain_unreadable_page(PUBLIC_PAGES[case]) == ""


@pytest.mark.parametrize("case", WITHHELD_PAGES)
def test_a_page_that_a_visitor_cannot_read_is_no_article(case: str) -> None:
    body, reason = WITHHELD_PAGES[case]
    document = parse_document(body, url=f"{SITE}/drill/", now=NOW)
    assert document.items == ()
    assert rejections(document) == [(1, f"not public: {reason}", f"{SITE}/drill/")]
