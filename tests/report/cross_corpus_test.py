"""The section on other corpora, and its text for a terminal, from files alone."""

import pytest

from ser_jax.errors import InputError
from ser_jax.report import cross_corpus, report
from ser_jax.scoring import transfer
from ser_jax.workdir import contents, results
from ser_jax.workdir import cross_corpus as cross_corpus_files
from tests.report import workdirs
from tests.report.page import Page

CLASSES = ("angry", "sad")
RULES = {"split": "group", "selection": "val"}


def test(name="ravdess", classes=("anger", "joy", "neutral"), **more) -> dict:
    """Anger: one hit of two; joy: one of one; neutral: never, and nobody says it."""
    posteriors = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]]
    speakers = ["a", "b", "b"]
    scores = transfer.score(posteriors, [0, 0, 1], classes, [9, 1, 1], speakers)
    values = dict.fromkeys(cross_corpus_files.CONTENT, "")
    return (
        values
        | scores
        | {
            "name": name,
            "corpus": f"Title of {name}",
            "model": "area_attn",
            "trained_on": "emodb",
            "place": "/data/there",
            "warning": "Two speakers only.",
            "runs": [["s1", 0], ["s2", 0]],
            "stamps": ["synthetic corpus"],
            "target_use": "none",
            "classes": list(classes),
            "labels": {"angry": "anger", "rage": "anger", "joy": "joy"},
            "dropped_labels": {"calm": 192},
            "dropped_classes": ["boredom"],
            "speakers": 2,
            "balanced_training": False,
            "utterances": results.count_utterances(3, []),
            "warnings": {"unlike the training speech": 2},
            "notes": ["7 of 10 recordings are left out."],
        }
        | more
    )


test.__test__ = False


@pytest.fixture(name="workdir")
def _workdir(tmp_path):
    tested = workdirs.predictions([("a", "s1", "angry", "sad")])
    folder = tmp_path / "w"
    workdirs.write(folder, workdirs.summarise(tested, CLASSES, protocol=RULES), tested)
    return folder


def test_pages_say_the_scores_and_what_they_are_worth(workdir):
    for name in ("ravdess", "casia-2", "casia"):
        cross_corpus_files.write(workdir, test(name), [], CLASSES)
    report.write_report(workdir)
    page = Page((workdir / "report.html").read_text())
    at = page.captions.index("Scores on other corpora, percent")
    head, *rows = page.tables[at]
    assert head == [
        *("corpus", "UA %", "95 % interval", "chance %", "UA adjusted %", "WA %"),
        *("classes", "n", "speakers", "interval over"),
    ]
    assert [row[0] for row in rows] == ["casia", "casia-2", "ravdess"]
    low, high = (f"{100 * x:.2f}" for x in test()["ua_interval"])
    # Recalls 1/2 and 1; adjusted, 0.8 / 9 is less than 0.1, and all are joy.
    assert rows[2][1:] == [
        *("75.00", f"{low} to {high}", "50.00", "50.00", "66.67"),
        *("3", "3", "2", "utterances"),
    ]
    head, *rows = page.tables[at + 1]
    assert head == ["corpus", "what", "anger", "joy", "neutral"]
    assert rows[:4] == [
        ["casia", "recall", "50.00", "100.00", "–"],
        ["casia", "recall, adjusted", "0.00", "100.00", "–"],
        ["casia", "share of the training", "81.82", "9.09", "9.09"],
        ["casia", "share of the corpus", "66.67", "33.33", "0.00"],
    ]
    for words in (
        *("anger: angry, rage; joy: joy", "calm 192", "boredom", "Two speakers only."),
        *("without a recording: neutral", "7 of 10 recordings", "Target use: none"),
        *("unlike the training speech 2", "the mean of 2 runs", "/data/there"),
        "chance",
    ):
        assert words in page.text
    assert "| `ravdess` | 75.00 |" in (workdir / "report.md").read_text()


def test_without_a_test_there_is_no_section(workdir):
    report.write_report(workdir)
    assert "other corpora" not in (workdir / "report.html").read_text()


def test_classes_of_two_corpora_share_a_table():
    (section,) = cross_corpus.sections([test(), test("x", ("anger", "joy", "calm"))])
    tables = [x for x in section.blocks if hasattr(x, "rows")]
    assert tables[1].rows[0] == ("corpus", "what", "anger", "joy", "neutral", "calm")
    assert [str(x) for x in tables[1].rows[3][2:]] == ["81.82", "9.09", "9.09", "–"]


def test_a_balanced_training_is_said():
    def said(**more):
        (section,) = cross_corpus.sections([test(**more)])
        return any("changes nothing" in str(block) for block in section.blocks)

    assert said(balanced_training=True) and not said()


def test_a_terminal_is_told_the_same():
    lines = cross_corpus.text(test()).splitlines()
    assert lines[0] == (
        "area_attn trained on emodb, tested on Title of ravdess; target use: none"
    )
    assert lines[1] == "[synthetic corpus]"
    assert any(line.split()[0] == "75.00" for line in lines[3:] if line)
    assert "95 % interval: resamples of utterances" in lines
    table = [line for line in lines if line[:1] in (" ", "-")]
    assert len(table) >= 3 and max(map(len, table)) <= 80


def test_damaged_files_are_named(workdir):
    path = cross_corpus_files.write(workdir, test(), [], CLASSES)
    path.with_name("older.json").write_text('{"name": "older"}')
    with pytest.raises(InputError, match=r"target_use.* in .*older\.json"):
        contents.read(workdir)
