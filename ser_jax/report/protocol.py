"""What was run, in words: corpus, protocol, counts, exclusions, warnings."""

from collections.abc import Mapping

from ser_jax.report.document import Items, Section, code, plain
from ser_jax.workdir.provenance import PAPER_MODE, REPEATED_SENTENCES, SYNTHETIC

LISTED = 3  # exclusions written out per reason; results.json has them all
BANNERS = {  # by stamp
    SYNTHETIC: (
        "**Synthetic corpus.** The speech is made by a synthesiser to show that the "
        "program works. The numbers say nothing about human emotion and must not be "
        "compared with published ones."
    ),
    PAPER_MODE: (
        "**Paper mode: epoch chosen on test data.** The epoch that scores best on the "
        "test part is reported, as some papers do. The numbers are optimistic; use "
        "`--config.protocol.selection=val` for honest ones."
    ),
    REPEATED_SENTENCES: (
        "**Test sentences also in training.** The model reads words, and many that it "
        "is tested on were trained on, so that the numbers are partly memory. IEMOCAP's "
        "sessions act the same scripts: `--config.protocol.split=session5_script` keeps "
        "them apart, `--config.protocol.subset=improvised` leaves them out. In other "
        "corpora `split=group` with `group_by=text` keeps sentences apart."
    ),
}
SPLITS = {
    "session5": "leave one session out; no tested speaker is trained on",
    "session5_script": (
        "leave one session and one script out (or its improvised dialogs); no tested "
        "speaker and no tested script is trained on; folds are small and differ in "
        "size, so read the pooled scores"
    ),
    "speaker10": "leave one speaker out; the session's other speaker validates",
    "random_811": "random 80/10/10 % by utterance; **the parts share speakers**",
    "random_80_20": "random 80/20 % by utterance; **the parts share speakers**",
    "group": "leave one group out; no tested group is trained on",
}
VALIDATIONS = {
    "speaker": "one whole speaker of the next fold or session, who does not train",
    "group": "all of the next fold or session, which does not train",
    "random": "random utterances that do not train; speakers shared with training",
}
SELECTIONS = {
    "val": "per run, the epoch with the best validation UA",
    "last": "the last epoch; nothing is chosen",
    "test": "per run, the epoch with the best **test** UA (paper mode)",
}
SUBSETS = {
    "improvised": "improvised dialogs only",
    "scripted": "scripted dialogs only",
    "all": "all utterances",
}
_PARTS = {"n_train": "train", "n_val": "validate", "n_test": "are tested"}
# The other splits have a validation part of their own.
_USE_VALIDATION = ("session5", "session5_script", "group")
_ELSEWHERE = "see the config"


def section(results: Mapping) -> Section:
    """What was run; `results` is the content of results.json."""
    rules, selection = results["protocol"], results["selection"]
    subset, happy = rules.get("subset"), rules.get("happy")
    synthetic = " (synthetic)" if results["corpus_is_synthetic"] else ""
    classes = ", ".join(map(plain, results["classes"]))
    lines = [
        f"Model: {code(results['model'])}, classes: {classes}",
        f"Corpus: {plain(results['corpus'])}{synthetic}",
    ]
    if subset is not None:
        lines.append(f"Subset: {code(subset)}, {SUBSETS.get(subset, _ELSEWHERE)}")
    if happy is not None:
        lines.append(f"Happy policy: {code(happy)} (what `happy` holds)")
    lines.append(f"Split: {_split(rules)}")
    if selection == "val" and rules["split"] in _USE_VALIDATION:
        lines.append(f"Validation: {_validation(rules)}")
    lines.append(f"Epoch: {SELECTIONS.get(selection, _ELSEWHERE)}")
    lines.append(f"Runs: {runs(results)}")
    lines.append(f"Utterances per run: {_part_sizes(results['runs'])}")
    lines += [f"Promised: {plain(promise)}" for promise in rules.get("promises", ())]
    if text := results.get("text"):
        lines += _words_read(text)
        if repeated := repeated_sentences(results):
            lines.append(f"Sentences: {repeated}")
    elif share := rules.get("test_sentences_also_trained"):
        lines.append(
            f"Sentences: {share:.0%} of the test utterances have words that also occur "
            "in training; a leak for a model that reads, not for one that hears"
        )
    return Section("run", "What was run", [Items(lines)])


def utterances(counts: Mapping) -> Section:
    """How many were used, what was left out and why.

    Args:
      counts: `utterances` of results.json.
    """
    reasons = []
    for reason, count in counts["skipped"].items():
        excluded = [item for item in counts["excluded"] if item["reason"] == reason]
        below = [
            code(item["id"]) + (f": {plain(item['detail'])}" if item["detail"] else "")
            for item in excluded[:LISTED]
        ]
        if len(excluded) > LISTED:
            below.append(f"... and {len(excluded) - LISTED} more in results.json")
        reasons.append((f"{plain(reason)}: {count}", below))
    items = [
        f"Used: {counts['used']}",
        f"Padded to a window: {counts['padded_short']}",
        f"Resampled: {counts['resampled']}",
        (f"Excluded: {sum(counts['skipped'].values())}", reasons),
    ]
    return Section("utterances", "Utterances", [Items(items)])


def runs(results: Mapping) -> str:
    """`5 (5 folds; seeds 0)`."""
    folds = {run["fold"] for run in results["runs"]}
    # In the order of the table, which a set would lose.
    seeds = list(dict.fromkeys(str(run["seed"]) for run in results["runs"]))
    return f"{len(results['runs'])} ({len(folds)} folds; seeds {', '.join(seeds)})"


def repeated_sentences(results: Mapping) -> str:
    """How much of the tested text is trained on, as a sentence; empty if unknown."""
    text = results.get("text") or {}
    shares = text.get("sentences_also_in_training")
    if not shares:
        return ""
    sentence = (
        f"{shares['mean']:.0%} of the test utterances (up to {shares['max']:.0%} in a "
        "fold) have a sentence that also occurs in training"
    )
    if text.get("scripts_also_in_training"):
        sentence += (
            "; scripted dialogs are the same plays in training and test "
            "(protocol.split=session5_script keeps them apart)"
        )
    return sentence


def _split(rules) -> str:
    name = str(rules["split"])
    rule = f"{code(name)}: {SPLITS.get(name, _ELSEWHERE)}"
    if name == "group":
        number = rules.get("groups") or "one per value"
        rule += f" (column {code(rules.get('group_by'))}, folds: {number})"
    return rule


def _validation(rules) -> str:
    name, share = rules.get("validation"), rules.get("val_fraction")
    rule = f"{code(name)}, {VALIDATIONS.get(name, _ELSEWHERE)}"
    return rule + (f" ({share:.0%})" if name == "random" and share else "")


def _part_sizes(runs) -> str:
    """`168 train, 24 validate, 48 are tested`; ranges where runs differ."""
    parts = []
    for key, verb in _PARTS.items():
        sizes = [run[key] for run in runs if run.get(key) is not None]
        if sizes:
            low, high = min(sizes), max(sizes)
            parts.append(f"{low} {verb}" if low == high else f"{low} to {high} {verb}")
    return ", ".join(parts)


def _words_read(text: Mapping) -> list[str]:
    """The lines on what a model read; `text` is that of results.json."""
    source = {"transcript": "transcripts", "asr": "recognized speech"}
    line = f"Words: {plain(source.get(text['source'], text['source']))}"
    if text.get("word_vectors"):
        line += f", vectors {code(text['word_vectors'])}"
    if text.get("words"):
        share = text.get("unknown_words", 0) / text["words"]
        line += f"; {share:.1%} of {text['words']} words without a vector"
    if text.get("without_words"):
        line += f"; {text['without_words']} utterances without a known word"
    asr = text.get("asr")
    if not asr:
        return [line]
    errors = "word error rate unknown (no transcripts)"
    if asr["wer"] is not None:
        errors = (
            f"word error rate {asr['wer']:.1%} of the corpus's {asr['num_words']} "
            f"transcribed words; nothing heard in {asr['empty']} utterances"
        )
    return [line, f"Recognizer: {code(asr['recognizer'])}, {errors}"]
