"""What a report says of groups, from numbers worked by hand."""

from ser_jax.report import report
from tests.report import workdirs

CLASSES = ("angry", "sad")
TESTED = workdirs.predictions(
    [("a", "s1", "angry", "angry"), ("b", "s1", "sad", "sad")]
)
SCORED = {"ua_interval": [0.7, 0.9], "interval_over": "speakers", "absent_classes": []}
FOUND = {
    "gender": {
        "groups": [
            {"value": "", "n": 3, "speakers": 1},
            {"value": "F", "n": 40, "speakers": 5, "ua": 0.8125, **SCORED},
            {
                "value": "M",
                "n": 50,
                "speakers": 4,
                "ua": 0.75,
                "ua_interval": [0.6, 0.85],
                "interval_over": "utterances",
                "absent_classes": ["sad"],
            },
        ],
        "gap": {"best": "F", "worst": "M", "ua": 0.0625, "interval": [-0.01, 0.2]},
    }
}


def _report(folder, **about):
    protocol = {"split": "group", "selection": "last", "validation": "speaker"}
    summary = workdirs.summarise(TESTED, CLASSES, protocol=protocol, **about)
    report.write_report(workdirs.write(folder, summary, TESTED))
    return (folder / "report.md").read_text(), (folder / "report.html").read_text()


def test_groups_have_intervals_and_a_gap(tmp_path):
    text, page = _report(tmp_path / "w", groups=FOUND)
    for row in (
        "| `unknown` | 1 | 3 | – | too few | – |",
        "| `F` | 5 | 40 | 81.25 | 70.00 to 90.00 | none |",
        "| `M` | 4 | 50 | 75.00 | 60.00 to 85.00 (utterances) | sad |",
    ):
        assert row in text
    assert "`F` less `M`, of the classes that both have: +6.25 points" in text
    assert "95 % interval -1.00 to +20.00, over speakers.\n" in text  # the only one
    assert "| gender | speakers | n |" in text
    assert "UA by gender" in page and 'id="fairness"' in page


def test_without_columns_there_is_no_section(tmp_path):
    text, _ = _report(tmp_path / "w")
    assert "Who it works for" not in text
