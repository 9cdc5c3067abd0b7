"""The built-in topics of homeland security, with the words that give each away.

A strong word is a topic's own: one in a title decides it. A weak word is used elsewhere too, and only adds to others.
Words fold their plurals; a word in capitals (`ICE`) matches only capitals. The order of topics decides a tie.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicWords:
    """A topic's name and its words and phrases, parted by semicolons: strong ones decide it, weak ones add to it."""

    name: str
    strong: str
    weak: str = ""


BUILT_IN_TOPICS: tuple[TopicWords, ...] = (
    TopicWords(
        "Cybersecurity",
        strong="""cybersecurity; cyber security; cyberattack; cyber attack; cybercrime; cyber crime; cyberespionage;
            cyber espionage; cybercriminal; cyber threat; cyber incident; ransomware; malware; botnet; phishing;
            spyware; infostealer; trojan; backdoor; rootkit; zero-day; zero day; vulnerability; data breach; hacker;
            hacking; hacked; hacking group; DDoS; denial of service; exploited; threat actor; threat intelligence;
            known exploited vulnerabilities; patch tuesday; remote code execution; privilege escalation;
            credential theft; stolen credentials; CISA; NCSC; social engineering; supply chain attack; APT; crypto
            theft; encryption backdoor; zero trust; information security; SIM swapping; SIM swap; infected
            devices; command and control; cyber command; critical flaw; security flaw; post-quantum
            cryptography; hacktivist; qakbot; lockbit; login credentials; deepfake; cyber defense; cyber workforce;
            extortion gang; identity theft""",
        weak="""cyber; breach; hack; exploit; flaw; patch; patched; leaked; encryption; firmware; password; firewall;
            authentication; extortion; scam; fraud; identity; botnets; bug; server; surveillance""",
    ),
    TopicWords(
        "Border security",
        strong="""border patrol; border security; border crossing; border wall; border agent; border guard; southern
            border; northern border; southwest border; U.S.-Mexico border; CBP; customs and border protection; port of
            entry; ports of entry; smuggling; smuggler; fentanyl seizure; customs officers; contraband; Frontex; border
            control; border force; illegal crossings; cross-border""",
        weak="border; customs; seizure; seized; fentanyl; trafficker; cartel; checkpoint; migrant; Mexico",
    ),
    TopicWords(
        "Immigration",
        strong="""immigration; deportation; deported; deport; asylum seeker; asylum seekers; asylum; undocumented; ICE;
            USCIS; immigrant; migrant crossings; migration policy; immigration enforcement; immigration court;
            humanitarian parole; temporary protected status; Title 42; DACA; green card; work permit for migrants;
            migrant; refugee resettlement; visa overstay; unaccompanied children; small boats; naturalization""",
        weak="visa; refugee; migration; detention; parole; sanctuary city; citizenship",
    ),
    TopicWords(
        "Counterterrorism",
        strong="""terrorism; terrorist; terror attack; terror plot; terror group; counterterrorism; counter-terrorism;
            counterterror; domestic terrorism; violent extremism; violent extremist; extremist group; extremism;
            radicalization; radicalisation; Islamic State; ISIS; ISIL; ISIS-K; al-Qaeda; al Qaeda; al-Shabaab; Boko
            Haram; Hezbollah; Hamas; suicide bomber; suicide bombing; white supremacist; white supremacy; neo-Nazi;
            hate crime; racially motivated; Proud Boys; Oath Keepers; Jan. 6; January 6; Capitol riot; seditious
            conspiracy; mass shooting; mass shooter; active shooter; lone wolf; car bomb; bomb threat; pipe bomb; IED;
            bomb plot; insurgency; jihadist; attack plot; foreign fighters; terror watchlist; targeted violence;
            assassination attempt""",
        weak="terror; militant; extremist; bomb; bombing; gunman; manifesto; insurgent; shooter; radical; hostage",
    ),
    TopicWords(
        "Aviation security",
        strong="""aviation security; air traffic control; air traffic; air marshal; airport security; TSA; TSA
            PreCheck; PreCheck; transportation security administration; airport screening; FAA; federal aviation
            administration; airspace; near miss; near-miss; runway incursion; no-fly list; plane hijacking; hijacked
            plane; unruly passenger; aviation safety; NTSB; flight disruption; flights cancelled; flights grounded;
            grounded flights; airport chaos; aircraft collision; Real ID; ICAO""",
        weak="airport; airline; flight; aviation; aircraft; plane; passenger; pilot; runway; luggage; helicopter; crash",
    ),
    TopicWords(
        "Maritime security",
        strong="""maritime security; coast guard; port security; piracy; pirates off; shipping lane; Red Sea shipping;
            maritime domain; maritime administration; narco sub; drug boat; vessel boarding; Strait of Hormuz; cargo
            ship; container ship; search and rescue at sea; undersea cable; submarine cable; oil tanker; shadow fleet;
            seafarer; maritime""",
        weak="port; vessel; ship; tanker; boat; ferry; naval; seaport; harbor; cutter; capsized",
    ),
    TopicWords(
        "Emergency management",
        strong="""emergency management; emergency manager; FEMA; state of emergency; emergency declaration; evacuation
            order; mandatory evacuation; evacuation; emergency preparedness; preparedness; emergency response; disaster
            preparedness; hazard mitigation; emergency operations center; emergency alert; incident command; shelter in
            place; emergency officials; national guard activated; resilience grant; continuity of operations; mass
            casualty; National Preparedness Month; emergency services; storm warning; evacuate""",
        weak="emergency; shelter; evacuated; evacuees; alert; forecast; warning; resilience; national guard; landfall",
    ),
    TopicWords(
        "Disaster response",
        strong="""disaster response; disaster relief; natural disaster; disaster declaration; major disaster; hurricane;
            tropical storm; typhoon; cyclone; earthquake; tsunami; tornado; wildfire; flooding; flash flood; floods;
            landslide; mudslide; volcano; eruption; storm surge; disaster recovery; disaster aid; search and rescue;
            death toll; building collapse; dam collapse; humanitarian aid; aftershock; Idalia; Maui fire; Lahaina;
            heat wave; heatwave; blizzard; drought emergency; rescue workers; rescuers""",
        weak="storm; flood; disaster; survivors; collapse; rescue; rescued; devastation; damage; recovery; relief; toll",
    ),
    TopicWords(
        "Critical infrastructure",
        strong="""critical infrastructure; power grid; electric grid; electrical grid; power outage; blackout; water
            system; water utility; water treatment; wastewater; drinking water safety; pipeline security; pipeline
            explosion; industrial control system; SCADA; operational technology; energy infrastructure; nuclear plant;
            nuclear power plant; chemical plant; chemical facility; CFATS; train derailment; derailment; rail security;
            railway sabotage; sabotage; bridge collapse; transit security; substation; telecom outage; lifeline sector;
            internet outage; GPS jamming; supply chain security; dam safety; satellite disruption; pipeline; grid""",
        weak="infrastructure; outage; utility; power; energy; rail; railway; train; bridge; dam; telecom; transit; water",
    ),
    TopicWords(
        "Law enforcement",
        strong="""law enforcement; police officer; police chief; police department; police shooting; sheriff; deputy
            sheriff; FBI; DEA; ATF; U.S. Marshals; US Marshals; Secret Service; homeland security investigations;
            Europol; INTERPOL; organized crime; organised crime; drug trafficking; drug cartel; cartel; gang members;
            transnational crime; money laundering; body camera; bodycam; manhunt; escaped prisoner; escaped inmate;
            fugitive; gun trafficking; ghost gun; firearms trafficking; drug bust; fentanyl; federal agents;
            use of force; policing; task force arrests""",
        weak="""police; arrest; arrested; indictment; charged; suspect; sentenced; gang; detective; prosecutor; prison; gunman;
            shooting; firearm; officer; convicted; murder; crime; criminal; raid""",
    ),
    TopicWords(
        "Human trafficking",
        strong="""human trafficking; sex trafficking; child trafficking; labor trafficking; labour trafficking; forced
            labor; forced labour; modern slavery; people smuggling; human smuggling; child exploitation; child sexual
            exploitation; sexual abuse material; CSAM; sextortion; trafficking victims; trafficked; online child abuse;
            trafficking ring""",
        weak="trafficking; exploitation; victims; slavery; smuggling; abuse",
    ),
    TopicWords(
        "Public health",
        strong="""public health; epidemic; outbreak; CDC; World Health Organization; biosecurity; biodefense;
            bioterrorism; anthrax; avian flu; bird flu; H5N1; Ebola; Marburg virus; mpox; cholera; measles; Covid-19;
            Covid; vaccine stockpile; strategic national stockpile; health emergency; variant of concern; overdose;
            overdose deaths; opioid; naloxone; Narcan; medical countermeasures; pathogen; contamination; recall of food;
            listeria; salmonella; heat-related deaths; botulism""",
        weak="pandemic; virus; vaccine; disease; infection; hospital; quarantine; booster; variant; flu; health; infected",
    ),
    TopicWords(
        "Fire service",
        strong="""firefighter; fire department; fire chief; fire service; fire brigade; wildland fire; structure fire;
            apartment fire; house fire; building fire; high-rise fire; fire marshal; arson; smokejumper; U.S. Fire
            Administration; fire crews; fire safety; warehouse fire; fire station; wildfire containment; deadly
            fire; deadly blaze""",
        weak="fire; blaze; flames; burned; burning; wildfire; smoke; paramedic; EMS; explosion",
    ),
    TopicWords(
        "Intelligence",
        strong="""intelligence agency; intelligence community; intelligence officer; intelligence official; director of
            national intelligence; ODNI; CIA; NSA; MI5; MI6; GCHQ; Mossad; counterintelligence; espionage; spy agency;
            spying; spied; classified documents; classified information; top secret; security clearance; leaked
            documents; Section 702; FISA; fusion center; foreign influence; influence operation; disinformation;
            foreign interference; insider threat; spy; foreign agent; sanctions evasion; spy ring; spy balloon""",
        weak="intelligence; classified; secret; surveillance; agent; covert; propaganda; sanction; Kremlin; defector",
    ),
    TopicWords(
        "Counter-drone",
        strong="""counter-drone; counterdrone; counter-UAS; C-UAS; counter-unmanned; unmanned aircraft system; UAS; rogue
            drone; drone detection; drone incursion; drone sighting; drone jamming; anti-drone; drone mitigation; Remote
            ID; drone swarm; unauthorized drone; drone threat""",
        weak="drone; unmanned; UAV; jamming; quadcopter",
    ),
    TopicWords(
        "Emergency communications",
        strong="""emergency communications; 911 system; 911 outage; 911 call center; 911 dispatcher; 911 center; 988
            line; next generation 911; NG911; FirstNet; public safety communications; interoperability; land mobile
            radio; wireless emergency alerts; emergency alert system; public alert; emergency broadcast; IPAWS; P25
            radio; public safety answering point; PSAP; public safety broadband""",
        weak="911; dispatcher; dispatch; radio; broadband; spectrum; siren",
    ),
    TopicWords(
        "Chemical, biological, radiological and nuclear",
        strong="""CBRN; CBRNE; chemical weapon; biological weapon; nuclear weapon; nuclear security; nuclear smuggling;
            radiation leak; radiological; dirty bomb; nerve agent; Novichok; sarin; ricin; IAEA; OPCW;
            nuclear material; radioactive material; uranium enrichment; hazmat; hazardous materials; toxic spill; chemical spill; chemical
            leak; nonproliferation; Zaporizhzhia nuclear""",
        weak="nuclear; radioactive; chemical; toxic; radiation; uranium; explosive; missile",
    ),
    TopicWords(
        "Homeland security policy",
        strong="""homeland security; DHS; department of homeland security; Mayorkas; Noem; homeland security committee;
            national security council; national security adviser; national security advisor; national security;
            election security; public safety; Real ID act; homeland security secretary; insurrection; school safety;
            security grant; nonprofit security; continuity of government; critical minerals security; soft target;
            civil defense; civil defence; first responders; first responder; civil unrest; riot police""",
        weak="security; congress; senate committee; inspector general; GAO; watchdog; executive order; oversight; riot",
    ),
)
