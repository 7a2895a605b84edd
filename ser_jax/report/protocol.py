"""What was run, in words: corpus, protocol, counts, exclusions, warnings."""

from collections.abc import Mapping

from ser_jax.report.document import TEXTS, code, plain, plural, span

LISTED = 3  # exclusions written out per reason; a JSON file has them all
_PARTS = {"n_train": "train", "n_val": "validate", "n_test": "are tested"}
# The other splits have a validation part of their own.
_USE_VALIDATION = ("session5", "session5_script", "group")
_SENTENCES = TEXTS["sentences"]


def summary(results: Mapping) -> list[str]:
    """What was run; `results` is the content of results.json."""
    rules, selection = results["protocol"], results["selection"]
    subset, happy = rules.get("subset"), rules.get("happy")
    text = results.get("text") or {}
    asr = text.get("asr")
    synthetic = " (synthetic)" if results["corpus_is_synthetic"] else ""
    classes = ", ".join(map(plain, results["classes"]))
    validates = selection == "val" and rules["split"] in _USE_VALIDATION
    sentences = repeated_sentences(results)
    if not text and (share := rules.get("test_sentences_also_trained")):
        sentences = _SENTENCES["heard"].format(share)
    facts = [
        ("Model", f"{code(results['model'])}, classes: {classes}"),
        ("Corpus", plain(results["corpus"]) + synthetic),
        ("Subset", subset and f"{code(subset)}, {_explain('subsets', subset)}"),
        ("Happy policy", happy and f"{code(happy)} (labels of IEMOCAP that are happy)"),
        ("Split", _split(rules)),
        ("Validation", validates and _validation(rules)),
        ("Epoch", _explain("selections", selection)),
        ("Runs", runs(results)),
        ("Utterances per run", _part_sizes(results["runs"])),
        *(("Promised", plain(promise)) for promise in rules.get("promises", ())),
        ("Words", text and _words(text)),
        ("Recognizer", asr and _recognizer(asr)),
        ("Sentences", sentences),
    ]
    return [f"{name}: {fact}" for name, fact in facts if fact]


def utterances(counts: Mapping) -> list:
    """How many were used, what was left out and why; `utterances` of results.json."""
    return [
        f"Used: {counts['used']}",
        f"Padded to a window: {counts['padded_short']}",
        f"Resampled: {counts['resampled']}",
        excluded(counts, "results.json"),
        *_data_issues(counts),
    ]


def excluded(counts: Mapping, file: str) -> tuple[str, list]:
    """What was left out, and why, as an item of a list; `file` has all of it."""
    reasons = []
    for reason, count in counts["skipped"].items():
        listed = [item for item in counts["excluded"] if item["reason"] == reason]
        below = [
            code(item["id"]) + (f": {plain(item['detail'])}" if item["detail"] else "")
            for item in listed[:LISTED]
        ]
        if len(listed) > LISTED:
            below.append(f"... and {len(listed) - LISTED} more in {file}")
        reasons.append((f"{plain(reason)}: {count}", below))
    return f"Excluded: {sum(counts['skipped'].values())}", reasons


def _data_issues(counts: Mapping) -> list:
    """Duplicates and look-alike spellings; older workdirs say nothing of them."""
    found = {
        title: [", ".join(map(code, ids)) for ids in counts.get(key, ())]
        for title, key in (
            ("Duplicates", "duplicates"),
            ("Near-duplicates in two parts", "near_duplicates_in_two_parts"),
            ("Near-duplicates, probably one take", "near_duplicates"),
        )
    }
    found["Without a usable recording"] = [*map(plain, counts.get("lost", ()))]
    found["Spellings that look alike"] = [
        f"{item['column']} "
        + ", ".join(f"{code(ascii(k))} {n}" for k, n in item["counts"].items())
        + (", taken as one" if item["merged"] else "")
        for item in counts.get("spellings", ())
    ]
    return [
        (f"{name}: {len(lines)}", lines[:LISTED] + ["..."] * (len(lines) > LISTED))
        for name, lines in found.items()
        if lines
    ]


def runs(results: Mapping) -> str:
    """`5 (5 folds; seeds 0)`."""
    folds = {run["fold"] for run in results["runs"]}
    # In the order of the table, which a set would lose.
    seeds = list(dict.fromkeys(str(run["seed"]) for run in results["runs"]))
    number = len({(run["fold"], run["seed"]) for run in results["runs"]})
    return f"{number} ({plural(len(folds), 'fold')}; seeds {', '.join(seeds)})"


def repeated_sentences(results: Mapping) -> str:
    """How much of the tested text is trained on, as a sentence; empty if unknown."""
    text = results.get("text") or {}
    shares = text.get("sentences_also_in_training")
    if not shares:
        return ""
    sentence = _SENTENCES["read"].format(**shares)
    scripts = text.get("scripts_also_in_training")
    return sentence + (_SENTENCES["scripts"] if scripts else "")


def _explain(section: str, name) -> str:
    """A name in words; those of members that differ are joined by +."""
    texts = (TEXTS[section].get(x, "see the config") for x in str(name).split("+"))
    return "; or ".join(texts)


def _split(rules) -> str:
    name = str(rules["split"])
    rule = f"{code(name)}: {_explain('splits', name)}"
    if name == "group":
        number = rules.get("groups") or "one per value"
        rule += f" (column {code(rules.get('group_by'))}, folds: {number})"
    return rule


def _validation(rules) -> str:
    name, share = rules.get("validation"), rules.get("val_fraction")
    rule = f"{code(name)}, {_explain('validations', name)}"
    return rule + (f" ({share:.0%})" if name == "random" and share else "")


def _part_sizes(runs) -> str:
    """`168 train, 24 validate, 48 are tested`; ranges where runs differ."""
    parts = []
    for key, verb in _PARTS.items():
        sizes = [run[key] for run in runs if run.get(key) is not None]
        if sizes:
            parts.append(f"{span(sizes)} {verb}")
    return ", ".join(parts)


def _words(text: Mapping) -> str:
    """What a model read; `text` of results.json."""
    source = {"transcript": "transcripts", "asr": "recognized speech"}
    line = plain(source.get(text["source"], text["source"]))
    if text.get("word_vectors"):
        line += f", vectors {code(text['word_vectors'])}"
    if text.get("words"):
        share = text.get("unknown_words", 0) / text["words"]
        line += f"; {share:.1%} of {text['words']} words without a vector"
    if text.get("without_words"):
        line += f"; {text['without_words']} utterances without a known word"
    return line


def _recognizer(asr: Mapping) -> str:
    known = "asr" if asr["wer"] is not None else "asr_untested"
    return f"{code(asr['recognizer'])}, {TEXTS['words'][known].format(**asr)}"
