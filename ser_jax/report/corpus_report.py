"""The command `corpora`: the list of names, and the look at one corpus (no JAX)."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from ser_jax import figure_style
from ser_jax.errors import InputError, writing
from ser_jax.report import plain_text
from ser_jax.survey import listing as names
from ser_jax.workdir.files import check_name, write_atomically

NAME = "corpus"  # of the page's files


def listing() -> str:
    """All corpora that have a name."""
    advice = (
        "`python run.py corpora NAME --root=DIR` looks at one of them before training; "
        "a manifest's path, .csv, is a NAME, too."
    )
    tables = (names.corpora(), names.terms())
    return "\n\n".join([*(plain_text.table(x, words=3) for x in tables), advice])


def look(name: str, root: str = "", out: str = "") -> str:
    """Reads a corpus, writes its page and, on request, a manifest; returns the text.

    Args:
      name: See `corpora.source.find`.
      root: Folder of the corpus.
      out: Folder of the page, `runs/corpora/<name>` if empty; or a manifest to write,
        `.csv`, which leaves the page there.

    Raises:
      InputError: There is no such corpus, none of its recordings can be used, or a
        place cannot be written to.
    """
    from ser_jax.corpora import source
    from ser_jax.survey import manifest_file, survey

    check_name(out, "--out")
    is_manifest = out.lower().endswith(".csv")
    place = Path(out).expanduser().absolute()
    with _silenced():
        found = source.find(name, root)
    if is_manifest and place.resolve() == Path(found.place).resolve():
        raise InputError(f"--out: expected another file than the manifest read, {out}.")
    folder = place if out and not is_manifest else Path("runs", "corpora", found.name)
    with _silenced():
        looked = survey.look(found)
    lines = [write(looked, folder.absolute()), ""]
    lines.append(f"Written: {folder / NAME}.html, .md")
    if is_manifest:
        lines += [f"Written: {out}", *manifest_file.write(found.utterances, place)]
    return "\n".join(lines)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """What readers warn of is part of the report."""
    logger = logging.getLogger("ser_jax")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def write(survey, folder: Path) -> str:
    """Writes corpus.html, corpus.md and the figures to `folder`; returns the text.

    Raises:
      InputError: The folder cannot be written to.
    """
    from ser_jax.report import corpus_figures, corpus_page, html, markdown

    with writing(folder, "--out"):
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    numbers, speakers = corpus_page.speaker_counts(survey)
    pictures = {
        corpus_page.SPEAKERS_PNG: corpus_figures.heat_map(
            numbers, speakers, survey.classes()
        ),
        corpus_page.DURATIONS_PNG: corpus_figures.durations(survey.seconds()),
        corpus_page.LEVELS_PNG: corpus_figures.levels(corpus_page.peaks_db(survey)),
    }
    for name, figure in pictures.items():
        write_atomically(folder / name, figure_style.png(figure))
    document = corpus_page.document(survey)
    write_atomically(folder / f"{NAME}.md", markdown.render(document).encode())
    write_atomically(folder / f"{NAME}.html", html.render(document).encode())
    return plain_text.render(document)
