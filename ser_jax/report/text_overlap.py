"""What the report says of the words that a model reads, and when it warns of them."""

from collections.abc import Mapping

from ser_jax.report.document import code, plain

# Short answers (`Yeah.`) repeat everywhere; more than this is a corpus that repeats.
REPEATED = 0.05


def repeats(results: Mapping) -> bool:
    """Whether a model that reads is tested on sentences or scripts it was trained on."""
    text = results.get("text") or {}
    shares = text.get("sentences_also_in_training") or {"mean": 0.0}
    return shares["mean"] > REPEATED or bool(text.get("scripts_also_in_training"))


def repeated_line(results: Mapping) -> str:
    """How much of the tested text is trained on, as a sentence; empty if unknown."""
    text = results.get("text") or {}
    shares = text.get("sentences_also_in_training")
    if not shares:
        return ""
    said = (
        f"{shares['mean']:.0%} of the test utterances (up to {shares['max']:.0%} in a "
        "fold) have a sentence that also occurs in training"
    )
    if text.get("scripts_also_in_training"):
        said += (
            "; scripted dialogs are the same plays in training and test "
            "(protocol.split=session5_script keeps them apart)"
        )
    return said


def lines(results: Mapping) -> list[str]:
    """The report's list entries on the text; none for a model that does not read."""
    text = results.get("text") or {}
    if not text:
        return []
    source = {"transcript": "transcripts", "asr": "recognized speech"}
    said = [f"Words: {plain(source.get(text['source'], text['source']))}"]
    if text.get("word_vectors"):
        said[0] += f", vectors {code(text['word_vectors'])}"
    if text.get("words"):
        share = text.get("unknown_words", 0) / text["words"]
        said[0] += f"; {share:.1%} of {text['words']} words without a vector"
    if text.get("without_words"):
        said[0] += f"; {text['without_words']} utterances without a known word"
    if asr := text.get("asr"):
        said.append(f"Recognizer: {code(asr['recognizer'])}, {_word_errors(asr)}")
    if line := repeated_line(results):
        said.append(f"Sentences: {line}")
    return said


def _word_errors(asr: Mapping) -> str:
    if asr["wer"] is None:
        return "word error rate unknown (no transcripts)"
    return (
        f"word error rate {asr['wer']:.1%} of the corpus's {asr['num_words']} "
        f"transcribed words; nothing heard in {asr['empty']} utterances"
    )
