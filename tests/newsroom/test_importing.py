"""Feed files of every format, as real sites write them, become entries with all that they say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from livefeed.feed.item import Image
from livefeed.newsroom.importing import BadEntry, Found, Remark, Result, read
from livefeed.newsroom.input import Entry, checked
from livefeed.settings import Settings, Site

FIXTURES = Path(__file__).parent / "fixtures"
MAPPED = Settings(site=Site(categories={"transports": "economie"}))


def results(name: str, settings: Settings = MAPPED, rubric: str | None = None) -> list[Result]:
    return list(read((FIXTURES / name).read_bytes(), settings, rubric=rubric))


def entries(name: str) -> list[Entry]:
    return [result.entry for result in results(name) if isinstance(result, Found)]


def test_wordpress_rss() -> None:
    """A WordPress feed: the full content rather than the excerpt, its picture with text and credit, no scripts."""
    usine, chellah = entries("wordpress.xml")

    assert usine.headline == "L’usine de Ksar Sghir recrute 300 techniciens & ingénieurs"
    assert usine.guid == "https://phare.example/?p=48211"
    assert usine.rubric == "economie"
    assert usine.tags == ["emploi", "Tanger"]
    assert usine.authors == ["Ghita Bennis-Alami"]
    assert usine.source == "Le Phare du Détroit"
    assert usine.language == "fr"
    assert usine.first_published_at == datetime(2024, 8, 8, 12, 55, tzinfo=UTC)
    assert usine.image == Image(
        url="https://phare.example/wp-content/usine.jpg", alt="Usine", credit="Phare / A. Touzani"
    )
    assert usine.body == (
        "Le fabricant de câbles **ouvre une deuxième ligne**.Les candidatures sont reçues "
        "[sur son site](https://phare.example/emploi) jusqu’à fin août.\n\n"
        "## Des profils variés\n\n- Techniciens de maintenance\n- Ingénieurs qualité\n\n"
        "Les salaires n’ont pas été communiqués."
    )
    assert chellah.headline == "Le Chellah reçoit l’ensemble Tarab"
    assert chellah.authors == ["Ghita Bennis-Alami", "Omar Laâziz"]
    assert chellah.image == Image(url="https://phare.example/chellah.png")


def test_a_category_without_a_rubric_is_told_with_its_place_and_the_way_out() -> None:
    """One entry whose categories name no rubric is reported by number and title, and the others are imported."""
    *good, bad = results("wordpress.xml")

    assert all(isinstance(result, Found) for result in good)
    assert isinstance(bad, BadEntry)
    assert str(bad.place) == "entry 3 « Recette du jour »"
    assert "« Cuisine », « Vie pratique »" in bad.reason
    assert "LIVEFEED_SITE_FILE" in bad.reason
    assert "--rubric" in bad.reason


def test_a_default_rubric_takes_what_has_none() -> None:
    """With a default rubric nothing is refused for its categories; they stay as tags."""
    recette = results("wordpress.xml", rubric="societe")[2]

    assert isinstance(recette, Found)
    assert recette.entry.rubric == "societe"
    assert recette.entry.tags == ["Cuisine", "Vie pratique"]


def test_arabic_rss_in_windows_1256() -> None:
    """An Arabic feed in windows-1256 that declares no language is read in Arabic, its address kept to itself."""
    first, second = results("arabe-windows-1256.xml")

    assert isinstance(first, Found)
    assert first.entry.headline == "افتتاح مكتبة عمومية جديدة بمدينة أزرو"
    assert first.entry.language == "ar"
    assert first.entry.rubric == "culture"
    assert first.entry.authors == ["هند العلوي"]
    assert first.entry.body == 'تضم المكتبة عشرة آلاف كتاب، وتفتح أبوابها "ستة أيام" في الأسبوع.'
    assert isinstance(second, BadEntry)


def test_atom() -> None:
    """Atom: XHTML content, texts that are no HTML, several authors and the feed's, both dates, xml:lang, xml:base."""
    plain, english, third = entries("atom.xml")

    assert plain.headline == "Pourquoi la balise <b> n’est pas du gras"
    assert plain.body == "Deux balises, *deux sens*\u00a0: voir [le guide](https://rivage.example/guide).\n\n> Citation"
    assert plain.authors == ["Rim Seghrouchni", "Anas Bouhlal"]
    assert plain.tags == ["web"]
    assert plain.rubric == "tech"
    assert plain.first_published_at == datetime(2024, 8, 8, 12, 55, tzinfo=UTC)
    assert plain.updated_at == datetime(2024, 8, 9, 4, 56, tzinfo=UTC)
    assert plain.image == Image(url="https://rivage.example/img/1.jpg")
    assert english.headline == "Harbour reopens after storm"
    assert english.language == "en"
    assert english.authors == ["Rédaction de Rivage"]
    assert english.first_published_at == datetime(2024, 8, 8, 10, tzinfo=UTC)
    assert english.updated_at is None
    assert third.headline == "Un titre gras"
    assert third.body == "Une ligne \\<script\\> telle quelle\\\net \\*une\\* autre"


def test_rss_1_0_in_latin_1() -> None:
    """RSS 1.0 with Dublin Core; what calls itself ISO-8859-1 holds typographic marks of windows-1252."""
    (entry,) = entries("rdf.xml")

    assert entry.headline == "Un marché couvert pour Sefrou – dès l’automne"
    assert entry.authors == ["Saïd Maïnoun"]
    assert entry.rubric == "societe"
    assert entry.source == "La Gazette du Saïs"
    assert entry.first_published_at == datetime(2024, 8, 8, 7, 30, tzinfo=UTC)


def test_json_feed() -> None:
    """JSON Feed 1.1: numeric ids, relative addresses, authors of entry and feed, a title made from the text."""
    html, text, empty, nothing = results("jsonfeed.json")

    assert isinstance(html, Found)
    assert html.entry.guid == "carnet.example#901"
    assert html.entry.authors == ["Jad Ouhammou", "Sara Kettani-Bel"]
    assert html.entry.image == Image(url="https://carnet.example/photos/901.jpg")
    assert html.entry.body == "Après six jours de houle, [la mer s’est calmée](https://carnet.example/meteo)."
    assert html.entry.tags == ["Pêche"]
    assert html.entry.updated_at == datetime(2024, 8, 8, 6, tzinfo=UTC)
    assert isinstance(text, Found)
    assert text.entry.headline == "Le sémaphore est rallumé."
    assert text.entry.body == "Le sémaphore est rallumé. On le voit de la plage.\n\nIl éclairait déjà en 1916."
    assert text.entry.authors == ["Le Carnet"]
    assert empty == BadEntry(place=empty.place, reason="It has neither a title nor a text.")
    assert str(empty.place) == "entry 3 « 903 »"
    assert isinstance(nothing, BadEntry)


def test_ninjs() -> None:
    """An agency's ninjs of versions 1 and 3 in one envelope: main texts, byline, urgency, widest rendition."""
    first, second, lifted = entries("ninjs.json")

    assert first.headline == "Le pont d’Azemmour rouvert aux poids lourds"
    assert first.body == "La pesée a été concluante."
    assert first.level == "urgent"
    assert first.rubric == "economie"
    assert first.authors == ["Lina Haddaoui", "Ziad Mernissi-Tahar"]
    assert first.source == "Presse Atlas"
    assert first.image == Image(url="https://pa.example/p/1600.jpg", alt="Le pont", credit="PA / R. Slimi")
    assert first.first_published_at == datetime(2024, 8, 8, 10, 40, tzinfo=UTC)
    assert first.updated_at == datetime(2024, 8, 8, 11, tzinfo=UTC)
    assert second.headline == "Azemmour bridge reopens to lorries"
    assert second.body == "Load tests were conclusive.\n\nTraffic resumed at noon."
    assert second.language == "en"
    assert second.authors == ["Nora Fielding"]
    assert lifted.headline == "Embargo levé"


def test_what_an_agency_withholds_is_not_published() -> None:
    """Withheld, cancelled and embargoed items are skipped with their reason, and so is an embargo nobody can read."""
    skipped = [result for result in results("ninjs.json") if isinstance(result, BadEntry)]

    assert [result.place.number for result in skipped] == [3, 4, 5, 6, 8]
    assert all(result.skipped for result in skipped)
    for result, word in zip(skipped, ("withheld", "canceled", "2999-01-01", "cannot be read", "picture"), strict=True):
        assert word in result.reason


def test_an_embargo_ends_at_its_time() -> None:
    """The same item that is skipped before its embargo's end is imported from then on."""
    data = b'[{"uri":"u:1","headline":"H","embargoed":"2024-08-08T12:00:00+01:00","subject":[{"name":"Monde"}]}]'

    before = list(read(data, MAPPED, now=datetime(2024, 8, 8, 10, 59, 59, tzinfo=UTC)))
    after = list(read(data, MAPPED, now=datetime(2024, 8, 8, 11, tzinfo=UTC)))

    assert isinstance(before[0], BadEntry)
    assert isinstance(after[0], Found)


def test_broken_xml_is_read_as_far_as_it_goes() -> None:
    """A feed with lone ampersands, HTML entities and open tags gives all its entries, and a remark about the file."""
    remark, *found = results("casse.xml")

    assert isinstance(remark, Remark)
    assert "line 4" in remark.text
    assert [result.entry.headline for result in found if isinstance(result, Found)] == [
        "Recherche & développement : l'école s'ouvre",
        "Un prix < 10 dirhams",
        "Troisième",
    ]


def test_a_file_that_ends_too_soon_loses_its_last_entry_only() -> None:
    """A download that broke off: what is whole is imported, the half entry is reported by its place."""
    data = (FIXTURES / "wordpress.xml").read_bytes()
    *good, bad = read(data[: data.index(b"Deux soir")], MAPPED)

    assert [type(result) for result in good] == [Found]
    assert isinstance(bad, BadEntry)
    assert bad.place.number == 2
    assert "middle" in bad.reason


def test_dates() -> None:
    """Dates keep their moment; without a zone they are UTC; unreadable and future ones are left out with a warning."""
    found = [result for result in results("dates.xml") if isinstance(result, Found)]
    noon = datetime(2024, 8, 8, 12, 55, tzinfo=UTC)

    assert [result.entry.first_published_at for result in found] == [
        noon,
        noon,
        datetime(2024, 8, 8, tzinfo=UTC),
        None,
        None,
        None,
        noon,
        noon,
    ]
    assert [len(result.warnings) for result in found] == [0, 0, 0, 1, 1, 0, 0, 0]
    assert "future" in found[3].warnings[0]
    assert "l’autre jour" in found[4].warnings[0]


@pytest.mark.parametrize("fixture", sorted(path.name for path in FIXTURES.iterdir()))
def test_every_entry_found_passes_the_door(fixture: str) -> None:
    """What the reader gives is what the server accepts: every entry of every file passes the same checks."""
    found = [result for result in results(fixture, rubric="monde") if isinstance(result, Found)]

    assert found
    for result in found:
        checked(result.entry, MAPPED)
        assert result.entry.backfill
