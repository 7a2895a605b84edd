"""docs/corpora.md says what the descriptions say."""

from pathlib import Path

from ser_jax.corpora import descriptions
from ser_jax.survey import listing

PAGE = Path(__file__).parents[2] / "docs" / "corpora.md"


def test_the_page_is_made_from_the_descriptions():
    text = PAGE.read_text(encoding="utf-8")
    assert text == listing.page(), (
        "run `python -m ser_jax.survey.listing > docs/corpora.md`"
    )
    for about in descriptions.load().values():
        assert f"| {about.name} |" in text and about.source in text
