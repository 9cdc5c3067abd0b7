"""With `images = "credited"`, an image is emailed only if its own credit names the agency that made it."""

import pytest
from sqlalchemy import update

from digest.edition.content.edition_content import EditionContent, EditionImage
from digest.settings import Settings
from digest.store.engine import Database
from digest.store.models import Article
from tests.edition.drafting.test_drafts import collected, drafted, sample_settings


def credited_settings() -> Settings:
    settings = sample_settings()
    sources = [source.model_copy(update={"images": "credited"}) for source in settings.file.sources]
    return settings.model_copy(update={"file": settings.file.model_copy(update={"sources": sources})})


def draft_images(database: Database, credit: str | None) -> list[EditionImage]:
    """Draft the sample's week with this credit under each image, and list the images shown."""
    installation = collected(database, credited_settings())
    with database.write() as session:
        session.execute(update(Article).values(image_credit=credit))
    content = EditionContent.from_json(drafted(installation).content)
    entries = [entry for section in content.sections for entry in section.entries]
    return [entry.picture for entry in entries if entry.picture]


@pytest.mark.parametrize("credit", [None, "AP Photo/Ada Quill", "Courtesy photo", "FEMA; Getty Images"])
def test_an_image_that_is_not_credited_to_an_agency_stays_out(one_database: Database, credit: str | None) -> None:
    assert draft_images(one_database, credit) == []


def test_an_agencys_own_image_is_shown_with_its_credit(one_database: Database) -> None:
    images = draft_images(one_database, "U.S. Coast Guard photo by Ada Quill")
    assert images
    assert {image.credit for image in images} == {"Image: U.S. Coast Guard photo by Ada Quill"}
