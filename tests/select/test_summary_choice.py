"""The summary of a story: the lead's, or else that of another article that is a report."""

from dataclasses import replace
from datetime import UTC, datetime

from digest.collect.documents.parsed_document import SummaryBasis
from digest.select.selection_types import CandidateArticle, SummaryOrigin
from digest.select.stories import build_story_with_lead
from digest.select.summary_choice import StorySummary, choose_summary


def article(
    publisher: str, summary: str = "", *, title: str = "Pell Bridge closes at noon", **more: object
) -> CandidateArticle:
    url = f"https://{publisher.lower()}.example/1"
    values: dict[str, object] = {
        "url": url,
        "link": url,
        "title": title,
        "summary": summary,
        "source": publisher,
        "publisher": publisher,
    }
    values |= {
        "dated_at": datetime(2026, 11, 18, 9, tzinfo=UTC),
        "summary_basis": SummaryBasis.DESCRIPTION if summary else "",
    }
    return CandidateArticle(**(values | more))  # type: ignore[arg-type]


LEAD, OTHER = article("Perimeter"), article("Harbor", "The bridge is closed until the cable is replaced.")


def test_the_leads_own_summary_tells_its_story() -> None:
    lead = article("Perimeter", "Crews replace a cable.", summary_basis=SummaryBasis.OPENING)
    chosen = choose_summary(build_story_with_lead(lead, [OTHER]))
    assert chosen == StorySummary("Crews replace a cable.", SummaryOrigin(SummaryBasis.OPENING, "Perimeter"))
    assert chosen.origin
    assert chosen.origin.words == "from the beginning of Perimeter's article"


def test_a_lead_without_a_summary_borrows_one_and_says_whose_it_is() -> None:
    chosen = choose_summary(build_story_with_lead(LEAD, [OTHER]))
    assert chosen.text == OTHER.summary
    assert chosen.origin == SummaryOrigin(SummaryBasis.DESCRIPTION, "Harbor", "Perimeter")
    assert chosen.origin.words == "from Harbor's description of the article, because Perimeter doesn't have one"


def test_an_official_source_lends_its_summary_before_an_earlier_report() -> None:
    agency = article("Agency", "The agency closed it.", primary=True)
    agency = replace(agency, dated_at=datetime(2026, 11, 19, tzinfo=UTC))
    assert choose_summary(build_story_with_lead(LEAD, [OTHER, agency])).text == "The agency closed it."


def test_an_opinion_lends_no_summary() -> None:
    opinion = article("Column", "I have crossed it for years.", title="Opinion: Close the bridge for good")
    assert choose_summary(build_story_with_lead(LEAD, [opinion])) == StorySummary()


def test_a_summary_of_which_nobody_noted_the_basis_still_names_its_publisher() -> None:
    origin = choose_summary(build_story_with_lead(replace(OTHER, summary_basis=SummaryBasis.UNKNOWN), [])).origin
    assert origin
    assert origin.words == "from Harbor"


def test_what_an_editor_wrote_is_no_publishers() -> None:
    added = article("Perimeter", "Ours.", summary_basis=SummaryBasis.EDITOR)
    origin = choose_summary(build_story_with_lead(added, [])).origin
    assert origin == SummaryOrigin(SummaryBasis.EDITOR)
    assert origin.words == "written by an editor"
