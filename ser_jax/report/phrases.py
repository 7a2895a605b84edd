"""What every artefact of a training must say about itself."""

from collections.abc import Mapping

# Short answers (`Yeah.`) repeat everywhere; more than this is a corpus that repeats.
REPEATED_SHARE = 0.05


def stamps(results: Mapping) -> list[str]:
    """Short warnings, to be shown wherever the numbers are; often none.

    Args:
      results: Content of results.json.
    """
    text = results.get("text") or {}  # of a model that reads words
    shares = text.get("sentences_also_in_training") or {"mean": 0.0}
    repeats = shares["mean"] > REPEATED_SHARE
    applies = {
        "synthetic corpus": results["corpus_is_synthetic"],
        "paper mode: epoch chosen on test data": results["paper_mode"],
        "test sentences also in training": repeats
        or text.get("scripts_also_in_training"),
    }
    return [stamp for stamp, holds in applies.items() if holds]
