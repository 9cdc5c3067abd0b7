"""A WordPress site on loopback, as visitors see it: REST API, feed, and pages, with posts that can become protected."""

import json
from dataclasses import dataclass, field

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

FORM = '<form action="/wp-login.php?action=postpass" class="post-password-form"><input name="post_password" type="password"></form>'


@dataclass
class WordPress:
    """A site with a post at each path; those of `protected` are shown as WordPress shows them to a visitor."""

    server: HTTPServer
    paths: tuple[str, ...] = ("/drill/", "/flood/")
    protected: set[str] = field(default_factory=set)
    is_cached: bool = False  # a cache still shows the pages as they were

    def __post_init__(self) -> None:
        self.server.expect_request("/robots.txt").respond_with_data("", 404)
        self.server.expect_request("/wp-json/wp/v2/posts").respond_with_handler(self.answer_rest)
        self.server.expect_request("/feed/").respond_with_handler(self.answer_feed)
        for path in self.paths:
            self.server.expect_request(path).respond_with_handler(self.answer_page)

    def url(self, path: str) -> str:
        return self.server.url_for(path)

    def answer_rest(self, _: Request) -> Response:
        return Response(json.dumps([self.describe_post(path) for path in self.paths]), content_type="application/json")

    def describe_post(self, path: str) -> dict[str, object]:
        hidden = path in self.protected
        text = {
            "rendered": "" if hidden else f"<p>The port told of {path} on Monday, a matter of border security.</p>",
            "protected": hidden,
        }
        media = [{"source_url": self.url("/drill.jpg"), "alt_text": "A drill"}]
        return {
            "link": self.url(path),
            "guid": {"rendered": self.url(f"/?p={self.paths.index(path)}")},
            "date_gmt": "2026-11-15T09:00:00",
            "date": "2026-11-15T09:00:00",
            "status": "publish",
            "title": {"rendered": f"Protected: News {path}" if hidden else f"News {path}"},
            "content": text,
            "excerpt": text,
            "_embedded": {"wp:featuredmedia": media},
        }

    def answer_feed(self, _: Request) -> Response:
        items = []
        for path in self.paths:
            hidden = path in self.protected
            text = (
                "There is no excerpt because this is a protected post."
                if hidden
                else "The port opened again, a matter of border security, it said."
            )
            title = f"Protected: News {path}" if hidden else f"News {path}"
            items.append(
                f"<item><title>{title}</title><link>{self.url(path)}</link><description>{text}</description>"
                "<pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item>"
            )
        return Response(f'<rss version="2.0"><channel><title>Port</title>{"".join(items)}</channel></rss>')

    def answer_page(self, request: Request) -> Response:
        body = FORM if request.path in self.protected and not self.is_cached else "<p>The port opened again.</p>" * 20
        return Response(f"<html><body><h1>News</h1>{body}</body></html>", content_type="text/html")
