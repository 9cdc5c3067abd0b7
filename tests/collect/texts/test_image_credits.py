"""An image is an agency's own only if its credit says so explicitly."""

import pytest

from digest.collect.texts.image_credits import find_image_credits, is_agency_image

IMAGE = "https://www.fema.gov/sites/default/files/flood.jpg"


@pytest.mark.parametrize(
    "credit",
    [
        "FEMA",
        "FEMA photo",
        "Photo by FEMA",
        "Photo: FEMA.",
        "Image credit: NASA",
        "FEMA photo by Ada Quill",
        "Ada Quill/FEMA",
        "Photo by Ada Quill / FEMA",
        "Ada Quill, FEMA",
        "NASA/Ada Quill",
        "U.S. Coast Guard photo by Petty Officer 2nd Class Ada Quill",
        "U.S. Air National Guard photo by Tech. Sgt. Ada B. Quill-O’Hara",
        "U.S. Army Corps of Engineers photo",
        "NASA Earth Observatory images by Ada Quill",
        "the U.S. Geological Survey",
        "Ada Quill/FEMA; FEMA photo by Bo Lind",
    ],
)
def test_an_agencys_own_image_is_told_by_its_credit(credit: str) -> None:
    assert is_agency_image(credit, "FEMA", IMAGE, "A flooded street")


@pytest.mark.parametrize(
    "credit",
    [
        None,
        "",
        "AP",
        "AP Photo/Ada Quill",
        "AP Photo/FEMA",
        "FEMA/AP",
        "FEMA via AP",
        "FEMA via Ada Quill",
        "Getty Images",
        "Getty Images/FEMA",
        "Ada Quill/Getty Images for FEMA",
        "Ada Quill/Getty/FEMA",
        "FEMA photo by Getty Images",
        "FEMA photo by Ada Quill/Getty",
        "Reuters/FEMA",
        "FEMA, Reuters",
        "FEMA / Planet Labs",
        "Maxar Technologies/NASA",
        "NASA/SpaceX",
        "Courtesy of FEMA",
        "Photo courtesy of U.S. Coast Guard",
        "U.S. Coast Guard courtesy photo",
        "Courtesy photo",
        "FEMA seal",
        "Not FEMA",
        "FEMA contractor",
        "FEMAnews",
        "Former FEMA photo",
        "© Ada Quill",
        "FEMA © Ada Quill",
        "Ada Quill",
        "Ada/FEMA",
        "EPA/Ada Quill; Getty Images",
        "FEMA photo by Ada Quill; AP Photo/Bo Lind",
        "FЕMA",  # noqa: RUF001  the second letter is Cyrillic
        "FEMA\nGetty Images",
        "FEMA photo by Ada Quill (handout via Reuters)",
        "Associated Press/FEMA",
        "CNN Newsource, FEMA",
        "Ada Quill, special to FEMA",
        "Harlow Times/FEMA",
        "University of Harlow, NOAA",
        "All rights reserved, FEMA",
    ],
)
def test_any_other_credit_leaves_the_image_out(credit: str | None) -> None:
    assert not is_agency_image(credit, "FEMA", IMAGE, "A flooded street")


@pytest.mark.parametrize(
    ("url", "alt"),
    [
        (IMAGE, "Seal of the Department of Homeland Security"),
        (IMAGE, "FEMA logo"),
        ("https://www.dhs.gov/images/dhs-seal.png", ""),
        ("https://www.fema.gov/logo_wide.jpg", None),
    ],
)
def test_seals_and_logos_are_left_out_even_with_a_credit(url: str, alt: str | None) -> None:
    assert not is_agency_image("FEMA", "FEMA", url, alt)
    assert is_agency_image("FEMA", "FEMA", "https://www.noaa.gov/sealion.jpg", "A sealed door")


def test_the_publisher_of_the_source_counts_as_well_as_agencies_do() -> None:
    assert is_agency_image("Harlow County photo", "Harlow County", IMAGE, None)
    assert not is_agency_image("Harlow County photo", "Other County", IMAGE, None)
    assert not is_agency_image("photo", "", IMAGE, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Crews arrive. (U.S. Coast Guard photo by Ada Quill) They stay.", ["U.S. Coast Guard photo by Ada Quill"]),
        ("Streets are flooded. Photo: Ada Quill/FEMA. Pumps run.", ["Ada Quill/FEMA"]),
        ("Image credit: NASA", ["NASA"]),
        ("(AP Photo/Ada Quill) and (Courtesy photo)", ["AP Photo/Ada Quill", "Courtesy photo"]),
        ("Photos courtesy: Harlow Times", ["Harlow Times"]),
        ("The photo shows the port (left).", []),
    ],
)
def test_credits_are_found_in_texts(text: str, expected: list[str]) -> None:
    assert list(find_image_credits(text)) == expected
