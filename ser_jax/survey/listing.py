"""The corpora that have a name, as the rows of two tables. Pure Python."""

from ser_jax.corpora import descriptions, iemocap

HEADER = ("name", "title", "language", "hours", "recordings", "speakers", "classes")
TERMS_HEADER = ("name", "licence", "where to get or ask for it")
_UNKNOWN = "–"
_IEMOCAP = ("iemocap", "IEMOCAP", "en", "12", 10_039, 10, len(iemocap.LABELS))
_IEMOCAP_TERMS = ("iemocap", iemocap.LICENCE, iemocap.ADDRESS)


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
                about.speakers or _UNKNOWN,
                len({*about.emotion.values()}),
            )
        )
    return [HEADER, *sorted(rows)]


def terms() -> list[tuple[str, ...]]:
    """Licence and source of each corpus, below `TERMS_HEADER`."""
    rows = [_IEMOCAP_TERMS]
    rows += [(x.name, x.licence, x.source) for x in descriptions.load().values()]
    return [TERMS_HEADER, *sorted(rows)]


def page() -> str:
    """docs/corpora.md: all that the descriptions say, for people."""
    lines = [_INTRODUCTION, ""]
    for row in (rows := corpora()):
        lines.append("| " + " | ".join(map(str, row)) + " |")
        if row is rows[0]:
            lines.append("|---|---|---|--:|--:|--:|--:|")
    for about in descriptions.load().values():
        labels = ", ".join(
            f"{label} {number}" for label, number in about.expected.items()
        )
        labels = labels or ", ".join(dict.fromkeys(about.emotion.values()))
        source = about.source
        source = f"<{source}>" if source.startswith("http") else source
        lines += [
            "",
            f"**{about.title}** (`{about.name}`, `{about.variable}`): {labels}.",
            f"Files such as `{about.example}`. {about.cite}.",
            f"Licence: {about.licence}. Source: {source}.",
        ]
        lines += [f"Left out: `{x}`, {why}." for x, why in about.broken.items()]
        lines += [f"**Mind:** {about.warning}."] if about.warning else []
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
# Public corpora by name

`--config.data.corpus=NAME --config.data.root=FOLDER` trains on a corpus as it was unpacked; NAME_ROOT in the environment
takes the place of the second. `python run.py corpora NAME --root=FOLDER` shows what is in it before that. Folders may be
nested as archives leave them; a recording that is there twice counts once. `python run.py evaluate --workdir=W --corpus=NAME
--root=FOLDER` [tests a trained system](other_corpora.md) on one.

This page is made from the descriptions in [corpora.toml](../ser_jax/corpora/corpora.toml):
`python -m ser_jax.survey.listing > docs/corpora.md`. A corpus more is a table more there.

Not known, and so not said: genders in AESDD, CASIA, MELD and TurEV-DB, numbers per class of EmoDB 2 and MSP-Podcast. Any other
corpus goes with a [manifest](../README.md#your-own-data)."""

if __name__ == "__main__":
    print(page(), end="")
