"""What a report says of probabilities, from numbers worked by hand."""

from ser_jax.report import report
from ser_jax.scoring import calibration
from tests.report import workdirs

CLASSES = ("angry", "sad")
PROTOCOL = {"split": "group", "selection": "val", "validation": "random"}


def _lines(shares):
    """Four utterances of `angry`, of which three are heard."""
    return [
        line
        for number, share in enumerate(shares)
        for line in workdirs.predictions(
            [(f"u{number}", "s1", "angry", CLASSES[share < 0.5])], (share, 1 - share)
        )
    ]


TESTED = _lines((0.9, 0.9, 0.7, 0.2))
# Of 0.6 three quarters are right: log(0.6 / 0.4) / T = log(3), T = 0.37.
VALIDATED = _lines((0.6, 0.6, 0.6, 0.4))


def _report(folder, validated):
    found = calibration.summarise(TESTED, validated, CLASSES)
    summary = workdirs.summarise(TESTED, CLASSES, protocol=PROTOCOL, calibration=found)
    report.write_report(workdirs.write(folder, summary, TESTED))
    return (folder / "report.md").read_text(), (folder / "report.html").read_text()


def test_the_temperature_is_told_with_what_it_was_fitted_on(tmp_path):
    text, page = _report(tmp_path / "w", VALIDATED)
    # ECE: 0.9, 0.9 right; 0.7 right; 0.8 wrong: (0.2 + 0.3 + 0.8) / 4. Brier: (2 * 0.02
    # + 0.18 + 1.28) / 4. NLL: -(2 log 0.9 + log 0.7 + log 0.2) / 4.
    assert "| as they are | 32.50 | 0.375 | 0.544 |" in text
    assert "with temperature" in text and "0.37 here (4 utt" in text
    # The test part has fewer right than validation had: 0.9 becomes 0.997, 0.8 0.977.
    assert "**It makes NLL worse here**" in text
    assert "Shares of right decisions by confidence" in page
    # Kept at 50 %: two of 0.9, right; at 80 %: those and 0.8, wrong.
    rows = [row for row in text.splitlines() if row.startswith(("| 100 |", "| 80 |"))]
    assert rows == ["| 100 | 4 | 75.00 | 0 |", "| 80 | 3 | 66.67 | 0 |"]
    assert "| 50 | 2 | 100.00 | 0 |" in text


def test_without_a_validation_part_there_is_none(tmp_path):
    text, _ = _report(tmp_path / "w", [])
    assert "No temperature: not every run has" in text
    assert "with temperature" not in text


def test_older_workdirs_have_no_such_section(tmp_path):
    summary = workdirs.summarise(TESTED, CLASSES, protocol=PROTOCOL)
    report.write_report(workdirs.write(tmp_path / "w", summary, TESTED))
    assert "## Calibration" not in (tmp_path / "w" / "report.md").read_text()
