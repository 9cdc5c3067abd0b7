"""The declarations in `actions.toml` are checked when they're read, not when an action is taken."""

import tomllib

import pytest

from digest.installation.action_words import find_action, load_actions_by_topic


@pytest.mark.parametrize(
    "declared", ['role = "boss", area = "none"', 'role = "admin"', 'area = "none"', 'area = "all"']
)
def test_a_declaration_with_half_or_an_unknown_role_or_area_is_refused(
    monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    parsed = tomllib.loads(f'[editions]\n"act" = {{words = "acted", {declared}}}')
    monkeypatch.setattr(tomllib, "loads", lambda _text: parsed)
    with pytest.raises((ValueError, KeyError)):
        load_actions_by_topic.__wrapped__()


def test_an_action_is_found_by_its_name_whatever_its_topic() -> None:
    for actions in load_actions_by_topic().values():
        assert all(find_action(name) is declaration for name, declaration in actions.items())
    assert find_action("nothing") is None
