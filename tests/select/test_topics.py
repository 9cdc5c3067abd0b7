"""The topic of a story, and the words that decide it."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources

import pytest

from digest.select.penalties import find_penalties, is_round_up
from digest.select.selection_types import CandidateArticle, Story
from digest.select.topics import compile_topic_rules, find_story_topic

RULES = compile_topic_rules()


def topic_of(candidate: CandidateArticle) -> str:
    match = RULES.match_topic(candidate)
    return match.topic if match else ""


def article(title: str, summary: str = "", *, publisher: str = "Alpha") -> CandidateArticle:
    url = f"https://{publisher.lower()}.example.org/{len(title)}-{title[:8].strip()}"
    return CandidateArticle(url, url, title, summary, publisher, publisher, datetime(2026, 11, 16, tzinfo=UTC))


@pytest.mark.parametrize(
    ("title", "topic"),
    [
        ("Ransomware gangs hit three hospitals", "Cybersecurity"),
        ("Border Patrol agents rescue a family", "Border security"),
        ("TSA extends PreCheck lanes", "Aviation security"),
        ("Coast Guard stops a narco sub", "Maritime security"),
        ("FEMA opens applications for preparedness grants", "Emergency management"),
        ("Earthquakes shake the coast", "Disaster response"),
        ("Power grid operators test blackout plans", "Critical infrastructure"),
        ("Terrorist plot foiled before parade", "Counterterrorism"),
        ("Europol and INTERPOL arrest a fugitive", "Law enforcement"),
        ("Human trafficking ring broken up", "Human trafficking"),
        ("Measles outbreak reaches four states", "Public health"),
        ("Firefighters contain warehouse fire", "Fire service"),
        ("Spy agency chief warns of espionage", "Intelligence"),
        ("Deportation flights resume as immigration courts reopen", "Immigration"),
        ("Counter-UAS test at stadium finds rogue drones", "Counter-drone"),
        ("Counties move to next generation 911", "Emergency communications"),
        ("IAEA inspectors find nuclear material", "Chemical, biological, radiological, and nuclear"),
        ("Mourners gather after racist shooting at grocery", "Counterterrorism"),
        ("Gunman fired on worshippers at synagogue", "Counterterrorism"),
        ("Credential stuffing wave hits grocer's loyalty cards", "Cybersecurity"),
        ("New RAT hides in invoice attachments", "Cybersecurity"),
        ("Data leak at dental chain lays open patients", "Cybersecurity"),
        ("Salt Typhoon still inside carriers", "Cybersecurity"),
        ("Attackers exploiting router bug", "Cybersecurity"),
        ("Clerk jailed for spying for Russia", "Intelligence"),
        ("Threats to election officials rise", "Homeland security policy"),
        ("US forces deploy as Pentagon eyes embassy evacuation", "Homeland security policy"),
        ("Americans held hostage abroad come home", "Homeland security policy"),
        ("Reported threats rise, FBI says", "Counterterrorism"),
        ("Van plowed into parade crowd", "Counterterrorism"),
        ("764 extremist group member jailed over child sexual abuse material", "Counterterrorism"),
        ("Leader of 764 network admits exploiting children", "Counterterrorism"),
        ("Computer outage grounds airlines", "Critical infrastructure"),
        ("Fires on the hills: 900 hectares burned", "Disaster response"),
        ("Two jets collide on runway at county airport", "Aviation security"),
        ("Shooting at block party wounds seven", "Law enforcement"),
        ("Container ship seized in strait by armed crew", "Maritime security"),
        ("Sabotage cuts undersea cable to island", "Critical infrastructure"),
        ("White powder sent in letters to clerks", "Chemical, biological, radiological, and nuclear"),
    ],
)
def test_the_built_in_list_knows_the_field(title: str, topic: str) -> None:
    match = RULES.match_topic(article(title))
    assert match is not None
    assert match.topic == topic
    assert match.strength >= 0.6
    assert match.words


@pytest.mark.parametrize(
    "title",
    [
        "Singer dies at 76",
        "Ice cream makers report a warm autumn",
        "5 million bees fall off a truck",
        "The practice of hackathons",
        "Police choir sings",
        "Telescope caught spying a star cluster",
        "Miners were exploited for a century",
        "Pilot of new drama airs on Sunday",
        "Budget airline sells whisky to passengers",
        "CISA",
        "FBI",
        "An epidemic of loneliness",
        "War correspondent recalls outbreak of war",
        "Quadcopter beats champions at drone racing",
        "Man charged with murder of wife",
        "Widow sentenced to prison for murder of farmer",
        "Maritime border talks resume",
        "Landslide victory for mayor",
        "Artificial intelligence firm hires agent",
        "Rat bites man",
        "A rat is loose in the ministry",
        "Troops open fire near frontline village",
        "General under fire over budget",
        "Warplane drone attack on airfield",
    ],
)
def test_other_news_has_no_topic(title: str) -> None:
    assert RULES.match_topic(article(title)) is None


def test_capitals_in_the_list_match_only_capitals() -> None:
    match = RULES.match_topic(article("ICE holds 12"))
    assert match is not None
    assert match.topic == "Immigration"
    assert RULES.match_topic(article("Ice holds on the lake")) is None


def test_the_publishers_map_comes_before_all_words() -> None:
    mapped = replace(article("Ransomware hits port"), categories=("Ports",), topics=(("ports", "Harbors"),))
    match = RULES.match_topic(mapped)
    assert match is not None
    assert (match.topic, match.strength) == ("Harbors", 1.0)
    assert "Ports" in match.words[0]


def test_a_category_word_counts_more_than_a_title_word() -> None:
    match = RULES.match_topic(replace(article("Ransomware in the news"), categories=("Coast Guard",)))
    assert match is not None
    assert match.topic == "Maritime security"


def test_a_title_counts_more_than_a_summary() -> None:
    in_title, in_summary = (
        RULES.match_topic(article("Ransomware and malware")),
        RULES.match_topic(article("News", "Ransomware and malware")),
    )
    assert in_title is not None
    assert in_summary is not None
    assert in_title.strength > in_summary.strength


def test_one_strong_word_of_a_summary_is_a_mention() -> None:
    assert RULES.match_topic(article("Singer dies at 76", "She once wrote about ransomware.")) is None


def test_a_mention_in_passing_in_a_summary_is_no_topic_unless_the_title_names_it() -> None:
    summary = "The harbor also reports a ransomware leak of its own."
    assert RULES.match_topic(article("Crane drivers get a raise", summary)) is None
    assert topic_of(article("Crane drivers hit by ransomware", summary)) == "Cybersecurity"
    trade = replace(article("Crane drivers get a raise", summary), default_topic="Cybersecurity")
    assert topic_of(trade) == "Cybersecurity", "it's the field of its source"


def test_what_somebody_said_needs_more_than_one_word_of_a_topic() -> None:
    assert RULES.match_topic(article("Actor says fans of the band are terrorists")) is None
    assert topic_of(article("Two held for aiding terrorists, police say")) == "Counterterrorism"
    assert topic_of(article("Bank says hackers stole data", "The breach exposed customer data.")) == "Cybersecurity"


@pytest.mark.parametrize(
    "title",
    ["Opinion: Ransomware is here to stay", "Mayor slams rival over ransomware", "NFL team hit by ransomware jokes"],
)
def test_opinions_disputes_and_sports_need_more_than_one_word_of_a_topic(title: str) -> None:
    assert RULES.match_topic(article(title)) is None
    assert topic_of(article(title, "Hackers used malware and a zero-day to steal customer data.")) == "Cybersecurity"


@pytest.mark.parametrize(
    ("title", "summary"),
    [
        (
            "YouTuber crashes plane on purpose for views",
            "He pleaded guilty to obstructing an FAA inquiry, prosecutors say.",
        ),
        ("Two die as small plane crashes near airport", "The NTSB and the FAA are investigating the crash."),
        ("Prince returns to court in phone hacking case", ""),
        ("Speaker says first week was won in a landslide", ""),
        ("Spending bill could derail over train money", ""),
        ("Maker's revenue falls with demand for COVID products", ""),
        ("Embassy evacuation flights leave the capital", "The evacuation of citizens goes on, the ministry says."),
        ("Couple funds campaign against cyberbullying", ""),
        ("Senator's party blocks a vote on gun control", ""),
        ("FBI director reacts to a verdict on a former president", ""),
        ("Olympian is denied parole in killing", "He shot her four times, and was convicted of murder."),
        ("Tsunami of requests overwhelms a content network", ""),
        ("Disaster recovery for clusters in three steps", ""),
        ("Island of Fire opens to tourists", ""),
        ("Officials expect mass casualty collisions in video game", ""),
    ],
)
def test_titles_that_only_sound_like_a_topic_have_none(title: str, summary: str) -> None:
    assert RULES.match_topic(article(title, summary)) is None


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Mass shooting at mall kills six", "Law enforcement"),
        ("Airliner and jet collide on runway", "Aviation security"),
        ("FAA orders secondary barriers for cockpits", "Aviation security"),
        ("Residents told to evacuate as wildfire nears", "Emergency management"),
        ("COVID cases surge in nursing homes", "Public health"),
        ("Airman charged over leak of classified documents", "Intelligence"),
    ],
)
def test_the_matter_itself_keeps_its_topic(title: str, expected: str) -> None:
    assert topic_of(article(title)) == expected


def test_weak_words_say_nothing_without_a_strong_one() -> None:
    weak = "police prosecutor prison crime suspect"
    assert RULES.match_topic(article("Police arrest suspect, charged with murder", weak)) is None
    alone, helped = RULES.match_topic(article("Manhunt")), RULES.match_topic(article("Manhunt", weak))
    assert alone is not None
    assert helped is not None
    assert alone.strength < helped.strength


def test_words_in_company_count_only_together_and_are_shown_together() -> None:
    own = compile_topic_rules({"Flaws": ["exploited, exploiting + flaw, bug"]})
    assert own.match_topic(article("Workers exploited")) is None
    assert own.match_topic(article("A bug in the garden")) is None
    match = own.match_topic(article("A bug", "It is exploited. Another bug."))
    assert match is None, "the word in the worse place decides what both count, and a summary's one is a mention"
    match = own.match_topic(article("Exploited for weeks: the flaw", "exploiting bugs"))
    assert match is not None
    assert match.words == ("exploited + flaw",)


def test_a_word_that_ends_in_a_star_may_go_on() -> None:
    own = compile_topic_rules({"Net": ["cyber*", "bomb mak*"]})
    for title in ("Cyber", "Cyberinsurance grows", "Bomb makers", "bomb making"):
        assert own.match_topic(article(title)) is not None, title
    for title in ("Discyber", "Bomb", "Makers"):
        assert own.match_topic(article(title)) is None, title


def test_a_headline_all_in_capitals_shouts_and_names_nobody() -> None:
    assert RULES.match_topic(article("ICE ON THE LAKE")) is None
    assert RULES.match_topic(article("ICE HOLDS A RANSOMWARE DEALER")) is not None


def test_a_round_up_has_no_topic_but_by_its_categories() -> None:
    round_up = article("Weekly roundup: ransomware, floods", "Ransomware and malware and floods")
    assert RULES.match_topic(round_up) is None
    match = RULES.match_topic(replace(round_up, categories=("Cybersecurity",)))
    assert match is not None
    assert match.topic == "Cybersecurity"


def test_a_summary_that_is_the_whole_text_has_no_more_say() -> None:
    assert RULES.match_topic(article("Fair opens", "Pears and apples. " * 40 + "ransomware malware botnet")) is None


def test_a_word_within_a_longer_phrase_adds_nothing() -> None:
    short, long = RULES.match_topic(article("Malware")), RULES.match_topic(article("Spy agency"))
    assert short is not None
    assert long is not None
    assert long.strength == short.strength


def test_every_built_in_topic_decides_by_words_of_its_own() -> None:
    listed = tomllib.loads(resources.files("digest").joinpath("topics.toml").read_text("utf-8"))["topic"]
    assert [topic["name"] for topic in listed] == list(RULES.topic_names)
    for topic in listed:
        assert set(topic) <= {"name", "strong", "in_title", "weak", "other_senses"}
        strong = {part.strip().casefold() for part in topic["strong"].split(";")}
        weak = {part.strip().casefold() for part in topic.get("weak", "").split(";")}
        assert not strong & weak, topic["name"]


def test_the_operators_list_replaces_the_built_in_one() -> None:
    own = compile_topic_rules({"Bridges": ["suspension bridges", "toll"]})
    match = own.match_topic(article("A suspension bridge without tolls"))
    assert match is not None
    assert match.topic == "Bridges"
    assert match.words == ("suspension bridges", "toll")
    assert own.match_topic(article("Ransomware hits hospital")) is None


def test_words_are_whole_words() -> None:
    own = compile_topic_rules({"Ports": ["port"]})
    assert own.match_topic(article("Support for reporters")) is None
    assert own.match_topic(article("The port's cranes")) is not None


def test_one_articles_stray_word_makes_no_topic_of_a_large_story() -> None:
    lead = article("Singer dies at 76")
    others = tuple(article("Singer dies", publisher=p) for p in ("Beta", "Gamma", "Delta"))
    stray = article("Singer dies after Covid-19", "ransomware", publisher="Epsilon")
    assert find_story_topic(Story(lead, (*others, stray)), RULES) is None
    assert find_story_topic(Story(lead), RULES) is None


def test_a_storys_topic_is_what_most_say_and_its_strength_their_mean() -> None:
    lead = article("Ransomware hits hospital")
    other = article("Hospital closed", publisher="Beta")
    alone, both = find_story_topic(Story(lead), RULES), find_story_topic(Story(lead, (other,)), RULES)
    assert alone is not None
    assert both is not None
    assert both.topic == alone.topic == "Cybersecurity"
    assert both.strength == pytest.approx(alone.strength * 2 / 3, abs=1e-3)


@pytest.mark.parametrize(
    "title",
    ["In Other News: a dam, a ban", "Morning Report — who leads", "Pictures of the week: a regatta", "Security newsletter Round 435", "Week in review: ports", "Up First briefing: trial", "Five things to know", "Weekly recap: botnets", "Your Tuesday Briefing", "Harbor security newsletter"],
)  # fmt: skip
def test_round_ups_are_known_by_their_titles(title: str) -> None:
    assert is_round_up(article(title))


@pytest.mark.parametrize(
    "title",
    [
        "Police round up suspects",
        "Report: dam fails",
        "Newsletter publisher hacked by gang of four",
        "Governor says storm will land",
    ],
)
def test_other_titles_are_no_round_ups(title: str) -> None:
    assert not is_round_up(article(title))


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("Black Friday VPN deals", "sponsored or a deal"),
        ("Sponsored: why zero trust", "sponsored or a deal"),
        ("Get this course for just $20", "sponsored or a deal"),
        ("Weekly roundup", "a round-up"),
        ("Today’s Logistics Report: Seeking a seat in court", "a round-up"),
        ("Top 5 firewalls for offices", "not news: a list or guide"),
        ("Opinion: close the port", "not news: an opinion piece"),
        ("Watch: flood waters rise", "not news: a talk, video, or game"),
        ("NFL week two", "not news: sports or entertainment"),
    ],
)
def test_what_is_no_news_says_so(title: str, reason: str) -> None:
    assert reason in {f.reason for f in find_penalties(article(title))}
    assert find_penalties(article("Dam fails at Harlow Creek")) == ()


@pytest.mark.parametrize("host", ["myemail.cmail20.com", "wsj.createsend1.com", "x.us1.list-manage.com"])
def test_a_link_of_an_email_that_counts_clicks_is_no_news(host: str) -> None:
    link = f"https://{host}/t/d-l-abc/"
    assert [f.reason for f in find_penalties(replace(article("Dam fails"), url=link, link=link))] == ["a round-up"]


def test_a_missing_date_is_a_fault() -> None:
    assert [f.share for f in find_penalties(replace(article("Dam fails"), has_date=False))] == [0.3]


@pytest.mark.parametrize("source", [replace(article("Official"), primary=True), replace(article("Own"), own=True)])
def test_the_default_topic_of_an_official_source_counts_where_nothing_says_otherwise(source: CandidateArticle) -> None:
    plain = replace(source, title="Quarterly meeting moved to May")
    default = replace(plain, default_topic="Cybersecurity", source="Sector agency")
    assert RULES.match_topic(plain) is None
    match = RULES.match_topic(default)
    assert match is not None
    assert (match.topic, match.words) == ("Cybersecurity", ("the default topic of Sector agency",))
    other = RULES.match_topic(replace(default, title="Earthquake closes the harbor"))
    assert other is not None
    assert other.topic == "Disaster response"


@pytest.mark.parametrize(
    ("title", "topic"),
    [
        ("Editor for plain text is retired after 28 years", None),
        ("Maker of office software raises $2 million", None),
        ("Mail server gets a new look", None),
        ("Lender says breach is over", "Cybersecurity"),  # a weak word is company enough
        ("Arrests after hack of a bank", "Cybersecurity"),
        ("Earthquake closes the data center", "Disaster response"),
    ],
)
def test_the_default_topic_of_a_publisher_wants_a_word_beside_it(title: str, topic: str | None) -> None:
    match = RULES.match_topic(replace(article(title), default_topic="Cybersecurity", source="Sector news"))
    assert (match.topic if match else None) == topic


def test_a_default_topic_adds_to_what_the_words_say() -> None:
    both = article("Police arrest hackers abroad after ransomware")
    alone, helped = RULES.match_topic(both), RULES.match_topic(replace(both, default_topic="Cybersecurity"))
    assert alone is not None
    assert helped is not None
    assert helped.topic == alone.topic == "Cybersecurity"
    assert helped.strength > alone.strength


def test_a_default_topic_may_be_a_name_of_the_operators_own() -> None:
    match = RULES.match_topic(replace(article("Quarterly meeting moved"), default_topic="Our county"))
    assert match is not None
    assert match.topic == "Our county"


def test_the_publishers_category_comes_before_the_default_topic() -> None:
    mapped = replace(
        article("Meeting"), categories=("Ports",), topics=(("ports", "Harbors"),), default_topic="Cybersecurity"
    )
    match = RULES.match_topic(mapped)
    assert match is not None
    assert match.topic == "Harbors"


def test_an_editors_word_wins_over_all_others() -> None:
    lead, other = article("Ransomware hits hospital"), article("Hospital closed", publisher="Beta")
    story = Story(lead, (other,))
    corrected = find_story_topic(story, RULES, {other.url: "Public health"})
    assert corrected is not None
    assert (corrected.topic, corrected.strength, corrected.words) == ("Public health", 1.0, ("an editor's word",))
    by_lead = find_story_topic(story, RULES, {other.url: "Public health", lead.url: "Fire service"})
    assert by_lead is not None
    assert by_lead.topic == "Fire service"
    assert find_story_topic(story, RULES, {lead.url: ""}) is None
    assert find_story_topic(story, RULES, {"https://other.example.org/": "Fire service"}) == find_story_topic(
        story, RULES
    )
