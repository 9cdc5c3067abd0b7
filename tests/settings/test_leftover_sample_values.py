"""Leftovers of HLS.Today and the sample in another publication: everything that subscribers see is reported."""

import tomllib

from digest.settings import SettingsFileContent
from digest.settings.leftover_sample_values import (
    SAMPLE_SETTINGS,
    list_leftover_texts,
    list_sample_addresses,
    list_sample_sources,
    name_setting,
)

SAMPLE = tomllib.loads(SAMPLE_SETTINGS.read_text("utf-8"))


def renamed(**changes: dict[str, str]) -> SettingsFileContent:
    """Read the sample's settings under another name, with some tables changed."""
    tables = {table: SAMPLE[table] | changes.get(table, {}) for table in ("publication", "sender", "sponsor")}
    tables["publication"]["name"] = "Vigie"
    return SettingsFileContent.model_validate(SAMPLE | tables | {"consent": changes.get("consent", {})})


def test_every_text_of_the_sample_that_reaches_subscribers_is_named() -> None:
    assert set(list_leftover_texts(renamed())) == {
        *(f"publication.{key}" for key in ("tagline", "site", "about", "editor", "intro")),
        *("sender.name", "sender.postal_address"),
        *(f"sponsor.{key}" for key in ("name", "headline", "text", "url")),
    }
    assert list_sample_addresses(renamed()) == ("sender.address", "sender.reply_to", "sender.list_id")
    assert (name_setting("publication.site"), name_setting("sponsor.url")) == ("Publication → Website", "sponsor.url")
    assert list_sample_sources(renamed()) == tuple(source["name"] for source in SAMPLE["sources"])


def test_the_defaults_are_named_too_and_nothing_of_a_publication_of_its_own() -> None:
    bare = SettingsFileContent.model_validate({"publication": {"name": "Vigie"}})
    assert list_leftover_texts(bare) == ("publication.tagline", "publication.site", "publication.about", "sender.name")
    own = {"tagline": "La semaine", "site": "https://vigie.test/", "about": "Vigie suit les digues."}
    sender = {"name": "Vigie", "address": "a@vigie.test", "reply_to": "b@vigie.test", "list_id": "liste.vigie.test"}
    sound = SettingsFileContent.model_validate({"publication": {"name": "Vigie"} | own, "sender": sender})
    assert (list_leftover_texts(sound), list_sample_addresses(sound), list_sample_sources(sound)) == ((), (), ())


def test_the_samples_postal_address_is_known_under_another_name_and_in_lines() -> None:
    lines = "Vigie\n1200 Example Avenue, Suite 500\nSpringfield, EX 00000"
    assert "sender.postal_address" in list_leftover_texts(renamed(sender={"postal_address": lines}))
    assert "sender.postal_address" not in list_leftover_texts(renamed(sender={"postal_address": "1 Main St"}))


def test_a_sister_publication_may_name_hls_today() -> None:
    file = renamed(publication={"about": "Vigie is made by HLS.Today."}, sender={"name": "Vigie by HLS.Today"})
    assert not {"publication.about", "sender.name"} & set(list_leftover_texts(file))


def test_hls_today_itself_may_say_what_it_says() -> None:
    file = SettingsFileContent.model_validate(SAMPLE)
    assert (list_leftover_texts(file), list_sample_addresses(file), list_sample_sources(file)) == ((), (), ())
