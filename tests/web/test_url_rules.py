"""Routes compile the code that writes their URLs only when it's needed."""

import pytest
from werkzeug.routing import BuildError, Map, Rule

from digest.web.url_rules import LazyRule

ROUTES = {
    "start": "/",
    "edition": "/editions/<name>",
    "page": "/readers/<int:number>/pages/<path:page>",
    "first": "/list",
}


def build_map(kind: type[Rule]) -> Map:
    routes = [kind(path, endpoint=endpoint) for endpoint, path in ROUTES.items()]
    return Map([*routes, kind("/list/<int:page>", endpoint="first", defaults={"page": 1})])


def count_compiled(routes: Map) -> int:
    cells = (cell for route in routes.iter_rules() for cell in route._build_unknown.__func__.__closure__)  # type: ignore[attr-defined]
    return sum("<builder:" in getattr(cell.cell_contents, "__name__", "") for cell in cells)


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("start", {}),
        ("start", {"query": "ports & cranes"}),
        ("edition", {"name": "2026 W47"}),
        ("page", {"number": 7, "page": "a/b", "q": ["x", "y"]}),
        ("first", {"page": 1}),
        ("first", {"page": 2}),
        ("first", {"page": 2, "rule": "a value with a name of Werkzeug's own"}),
    ],
)
def test_a_lazy_route_writes_the_addresses_that_werkzeugs_own_writes(endpoint: str, values: dict[str, object]) -> None:
    lazy, eager = (build_map(kind).bind("news.example.org") for kind in (LazyRule, Rule))
    for append_unknown in (True, False):
        address = lazy.build(endpoint, values, append_unknown=append_unknown)
        assert address == eager.build(endpoint, values, append_unknown=append_unknown)


def test_a_lazy_route_refuses_what_werkzeugs_own_refuses() -> None:
    with pytest.raises(BuildError):
        build_map(LazyRule).bind("news.example.org").build("page", {"number": 7})


def test_only_the_routes_that_are_linked_to_are_compiled() -> None:
    routes = build_map(LazyRule)
    assert count_compiled(routes) == 0
    routes.bind("news.example.org").build("start")
    assert count_compiled(routes) == 1
