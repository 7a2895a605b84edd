"""The corpora that have a name, as the rows of two tables. Pure Python."""

from ser_jax.corpora import descriptions, iemocap

HEADER = ("name", "title", "language", "hours", "recordings", "speakers", "classes")
TERMS_HEADER = ("name", "licence", "where to get or ask for it")
_UNKNOWN = "–"
# 12 hours in 10,039 turns, by the release's own README.
_IEMOCAP = ("iemocap", "IEMOCAP", "en", "12.00", 10_039, 10, len(iemocap.LABELS))
_IEMOCAP_TERMS = (
    "iemocap",
    "on request, for research",
    "https://sail.usc.edu/iemocap/",
)


def corpora() -> list[tuple]:
    """What each corpus holds, below `HEADER`; sorted by name."""
    rows = [_IEMOCAP]
    for about in descriptions.load().values():
        rows.append(
            (
                about.name,
                about.title,
                about.language,
                f"{about.hours:.2f}" if about.hours else _UNKNOWN,
                about.utterances or _UNKNOWN,
                len({*about.female, *about.male}) or _UNKNOWN,
                len({*about.emotion.values()}),
            )
        )
    return [HEADER, *sorted(rows)]


def terms() -> list[tuple[str, ...]]:
    """Licence and source of each corpus, below `TERMS_HEADER`."""
    rows = [_IEMOCAP_TERMS]
    rows += [(x.name, x.licence, x.source) for x in descriptions.load().values()]
    return [TERMS_HEADER, *sorted(rows)]
