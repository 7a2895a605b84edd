"""What choosing the epoch on the test part is worth, in every artefact, by hand."""

import pytest

from ser_jax.report import report
from ser_jax.workdir import files
from tests.report import workdirs
from tests.report.page import Page

CLASSES = ("angry", "sad")
TESTED = workdirs.predictions(
    [
        *[("a", "s1", "angry", "angry"), ("b", "s1", "sad", "angry")],  # UA 50
        *[("c", "s2", "angry", "angry"), ("d", "s2", "sad", "sad")],  # 100
    ]
)


def _scores(mean, pooled):
    spread = {"mean": mean, "std": 0.1}
    return {"ua": spread, "wa": spread, "pooled": {"ua": pooled, "wa": pooled}}


def _workdir(folder, chosen="val", **selections):
    summary = workdirs.summarise(
        TESTED,
        CLASSES,
        protocol={"split": "group", "selection": chosen, "validation": "random"},
        selections=selections,
    )
    return workdirs.write(folder, summary, TESTED)


@pytest.mark.parametrize(
    ("chosen", "known", "gain", "said"),
    [
        (
            *("val", ("val", "test", "last")),
            "**+5.25 points** of UA here beside choosing it by validation",
            "chose nothing and stopped nothing",
        ),
        (
            *("last", ("test", "last")),
            "**+10.00 points** of UA here beside taking the last",
            "chose nothing and stopped nothing",
        ),
        (
            *("test", ("test", "last")),
            "**+10.00 points** of UA here beside taking the last",
            "its own scores are optimistic",
        ),
    ],
)
def test_the_report_and_the_terminal_say_what_the_test_part_adds(
    tmp_path, chosen, known, gain, said
):
    scores = {"val": _scores(0.75, 0.76), "test": _scores(0.8025, 0.8)}
    scores["last"] = _scores(0.7025, 0.72)
    folder = _workdir(tmp_path / "w", chosen, **{x: scores[x] for x in known})
    printed = report.write_report(folder)
    assert gain.replace("**", "") in printed.replace("\n", " ")
    text = (folder / "report.md").read_text()
    assert gain in text and said in text
    rows = [x for x in text.splitlines() if x.startswith("| test part (not honest)")]
    here = " (here)" if chosen == "test" else ""
    start = f"| test part (not honest){here} | 80.25 ± 10.00 | 80.25 ± 10.00 | 80.00 |"
    assert len(rows) == 1 and rows[0].startswith(start)
    assert ("| validation" in text) == ("val" in known)


def test_a_training_that_compared_nothing_says_nothing(tmp_path):
    folder = _workdir(tmp_path / "w")
    assert "selections" not in files.read_json(folder / "results.json")
    assert "points" not in report.write_report(folder)
    assert "If the test part chose" not in (folder / "report.md").read_text()


def test_comparisons_show_it_where_it_is_known(tmp_path):
    first = _workdir(
        tmp_path / "first", val=_scores(0.75, 0.76), test=_scores(0.8, 0.8),
        last=_scores(0.7, 0.7),
    )  # fmt: skip
    report.write_comparison([first, _workdir(tmp_path / "second")])
    page = Page((tmp_path / "comparison.html").read_text())
    (number,) = [
        i for i, x in enumerate(page.captions) if x.startswith("UA by the epoch")
    ]
    head, *rows = page.tables[number]
    assert head[1:] == ["by validation", "by test", "last", "by test: points"]
    assert rows == [
        ["first", "75.00 ± 10.00", "80.00 ± 10.00", "70.00 ± 10.00", "+5.00"]
    ]
