"""How a training does on other corpora: the report's section, and text for a terminal."""

from collections.abc import Mapping, Sequence

from ser_jax.report import figures, plain_text, protocol
from ser_jax.report.diagnostics import recall_cells
from ser_jax.report.document import TEXTS, Figure, Section, Table, code, plain
from ser_jax.report.score_table import percent
from ser_jax.workdir.files import CROSS_CORPUS

_TEXTS = TEXTS["cross_corpus"]
_SCORES = ("UA %", "95 % interval", "chance %", "UA adjusted %", "WA %", "classes")
_SCORES += ("n", "speakers", "interval over")


def sections(tests: Sequence[Mapping]) -> list[Section]:
    """The section, if there is a test; `tests` as `WorkdirContents.cross_corpus`."""
    if not tests:
        return []
    scores = [("corpus", *_SCORES), *((code(x["name"]), *_scores(x)) for x in tests)]
    blocks = [
        Figure("UA on other corpora", lambda: [_draw(tests)]),
        Table(scores, "Scores on other corpora, percent"),
        _TEXTS["scores"],
        _explain_adjusted(tests),
        Table(_class_rows(tests), "Each class on other corpora, percent", words=2),
    ]
    for test in tests:
        blocks += [f"{code(test['name'])}: {plain(test['corpus'])}", _facts(test)]
    return [Section("elsewhere", "On other corpora", blocks)]


def text(test: Mapping) -> str:
    """One test as lines for a terminal."""
    head = (
        f"{test['model']} trained on {test['trained_on']}, tested on {test['corpus']}; "
        f"target use: {test['target_use']}"
    )
    stamps = [f"[{stamp}]" for stamp in test["stamps"]]
    # What the interval is over has a line of its own: a terminal has 80 columns.
    scores = [_SCORES[:-1], _scores(test)[:-1]]
    tables = [plain_text.table(scores, words=0)]
    tables.append(plain_text.table([x[1:] for x in _class_rows([test])]))
    interval = f"95 % interval: resamples of {test['interval_over']}"
    facts = plain_text.block([interval, *_facts(test)])
    return "\n\n".join(["\n".join([head, *stamps]), *tables, facts])


def _explain_adjusted(tests: Sequence[Mapping]) -> str:
    balanced = any(test["balanced_training"] for test in tests)
    return _TEXTS["adjusted"] + (" " + _TEXTS["balanced"] if balanced else "")


def _scores(test: Mapping) -> tuple:
    low, high = test["ua_interval"]
    return (
        *recall_cells([test["ua"]]),
        f"{percent(low)} to {percent(high)}",
        percent(test["chance"]),
        *recall_cells([test["logit_adjusted"]["ua"]]),
        percent(test["wa"]),
        len(test["classes"]),
        test["n"],
        test["speakers"],
        test["interval_over"],
    )


def _class_rows(tests: Sequence[Mapping]) -> list[tuple]:
    """Recalls and priors: classes are columns, those of all tests together."""
    names = list(dict.fromkeys(name for test in tests for name in test["classes"]))
    rows = [("corpus", "what", *names)]
    for test in tests:
        recalls = {
            "recall": test["recalls"],
            "recall, adjusted": test["logit_adjusted"]["recalls"],
        }
        for what, values in recalls.items():
            shares = [values.get(name, float("nan")) for name in names]
            rows.append((code(test["name"]), what, *recall_cells(shares)))
        for what, key in (("training", "prior_source"), ("corpus", "prior_target")):
            shares = (test[key].get(name) for name in names)
            cells = ["–" if x is None else percent(x) for x in shares]
            rows.append((code(test["name"]), f"share of the {what}", *cells))
    return rows


def _facts(test: Mapping) -> list:
    """What was compared with what, and what was left out."""
    by_class = {name: [] for name in test["classes"]}
    for label, name in test["labels"].items():
        by_class[name].append(label)
    pairs = [f"{name}: {', '.join(labels)}" for name, labels in by_class.items()]
    dropped = [f"{label} {count}" for label, count in test["dropped_labels"].items()]
    warned = [f"{kind} {count}" for kind, count in test["warnings"].items()]
    runs = len(test["runs"])
    facts = {
        "Labels of each class": "; ".join(pairs),
        "Labels of no class in common, left out": ", ".join(dropped),
        "Classes of the model that the corpus lacks": ", ".join(
            test["dropped_classes"]
        ),
        "Classes in common without a recording": ", ".join(test["absent_classes"]),
        "Warnings, and how many answers have them": ", ".join(warned),
        "Target use": test["target_use"],
        "Answered by": f"the mean of {runs} runs" if runs > 1 else "one run",
        "Read from": test["place"],
    }
    lines = [f"{name}: {plain(fact)}" for name, fact in facts.items() if fact]
    lines += map(plain, filter(None, [test["warning"], *test["notes"]]))
    if test["utterances"]["excluded"]:
        file = f"{CROSS_CORPUS}/{test['name']}.json"
        lines.append(protocol.excluded(test["utterances"], file))
    return lines


def _draw(tests: Sequence[Mapping]) -> str:
    rows = [
        (
            f"{test['name']}: {test['corpus']}",
            test["ua"],
            tuple(test["ua_interval"]),
            test["logit_adjusted"]["ua"],
            test["chance"],
        )
        for test in tests
    ]
    return figures.svg(figures.intervals(rows), "UA on other corpora")
