"""What an ensemble has of its members: the worst, and in no report less than theirs."""

import re

import pytest

from ser_jax.ensemble import ensemble
from ser_jax.report import report
from ser_jax.workdir import predictions as prediction_files
from ser_jax.workdir import provenance
from ser_jax.workdir.predictions import Recording
from tests.ensemble import folders
from tests.report.page import Page


def _fuse(tmp_path, **faults):
    """The content of results.json; only the second member has the faults."""
    one = folders.write(tmp_path / "one")
    other = folders.write(tmp_path / "other", **faults)
    return ensemble.run([one, other], str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("faults", "stamp", "reason"),
    [
        ({"rules": {"selection": "test"}}, provenance.PAPER_MODE, "(paper mode)"),
        ({"rules": {"kept_apart": ["session"]}}, None, "does not keep the speakers"),
        ({"rules": {"leaks": ["3 takes probably are in two parts"]}}, None, "3 takes"),
        (
            {
                "text": {
                    "source": "asr",
                    "sentences_also_in_training": {"mean": 0.4, "max": 0.5},
                }
            },
            provenance.REPEATED_SENTENCES,
            "reads what was said",
        ),
        ({"corpus_is_synthetic": True}, provenance.SYNTHETIC, ""),
        ({"rules": {"target_use": "labelled"}}, "target use: labelled", ""),
    ],
)
def test_a_fault_of_one_member_is_the_ensembles(tmp_path, faults, stamp, reason):
    content = _fuse(tmp_path, **faults)
    assert provenance.stamps(content) == [stamp] * bool(stamp)
    assert content["paper_mode"] == (stamp == provenance.PAPER_MODE)
    # No report tests it where it would not test the member.
    report.write_comparison([tmp_path / "one", tmp_path / "out"])
    text = (tmp_path / "comparison.md").read_text()
    assert ("No significance test" in text) == bool(reason) and reason in text


def test_rules_that_differ_are_told(tmp_path):
    other = {"split": "official", "val_fraction": 0.2, "promises": ["PAPER MODE"]}
    content = _fuse(
        tmp_path,
        rules=other | {"selection": "val", "test_sentences_also_trained": 0.25},
        seconds={"training": 2.0, "total": 2.0},
        corpus_warnings=["acted"],
    )
    rules = content["protocol"]
    assert rules["split"] == "group+official" and content["selection"] == "last+val"
    assert rules["validation"] == "group" and "val_fraction" not in rules
    assert rules["kept_apart"] == ["speaker"] and not content["paper_mode"]
    some = " (of some members)"
    assert rules["promises"] == [folders.PROMISE + some, "PAPER MODE" + some]
    assert rules["test_sentences_also_trained"] == 0.25
    assert content["seconds"] == {"train": 12.34, "training": 2.0, "total": 2.0}
    assert content["corpus_warnings"] == ["acted"]
    printed = report.write_report(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Epoch: the last epoch; nothing is chosen; or per run" in text
    assert "time of all members [s]" in printed


def test_what_any_member_left_out_is_listed_once(tmp_path):
    lost = {"id": "x", "reason": "silent", "detail": ""}
    more = {"id": "y", "reason": "short", "detail": ""}
    counts = [
        {"used": n, "excluded": out, "padded_short": pad, "resampled": 1, "skipped": {}}
        for n, out, pad in ((4, [lost], 3), (5, [lost, more], 0))
    ]
    near = {"near_duplicates_in_two_parts": [["a1", "b1"]], "duplicates": [["b1", "q"]]}
    one = folders.write(tmp_path / "one", utterances=counts[0] | {"duplicates": []})
    other = folders.write(tmp_path / "other", utterances=counts[1] | near)
    found = ensemble.run([one, other], str(tmp_path / "out"))["utterances"]
    assert found["used"] == 5 and found["padded_short"] == 3 and found["resampled"] == 1
    assert found["excluded"] == [lost, more]
    assert found["skipped"] == {"silent": 1, "short": 1}
    assert found["near_duplicates_in_two_parts"] == [["a1", "b1"]]
    assert "duplicates" not in found


def test_members_stand_in_the_report(tmp_path):
    one = folders.write(tmp_path / "one")
    other = folders.write(tmp_path / "<b>`other", git_commit="0123456789abcdef")
    heard = [Recording(name, 1.5, f"{name}.wav") for _, name in folders.TESTED]
    prediction_files.write_recordings(other / "recordings.csv", heard)
    out = tmp_path / "out"
    ensemble.run([one, other], str(out))
    printed = report.write_report(out)
    assert "weights (equal): one 0.500, <b>`other 0.500" in printed
    page = Page((out / "report.html").read_text())
    text = (out / "report.md").read_text()
    title = text.splitlines()[0]
    assert title.startswith("# Ensemble of ") and title.endswith(" and one on demo")
    captions = [c.startswith("Members") for c in page.captions]
    (_, *rows) = page.tables[captions.index(True)]
    assert [row[1:5] for row in rows] == [
        ["one:demo", "last", "unknown", "0"],
        ["<b>'other:demo", "last", "0123456789ab", "0"],
    ]
    assert [row[-1] for row in rows] == ["0.500", "0.500"]
    assert "Learning curves" not in text and "Next to the paper" not in text
    assert "1.50 to 1.50" in text  # recordings of the one that has them
    assert not page.named("b")


def test_an_ensemble_is_compared_like_a_workdir(tmp_path):
    right = {
        (fold, name): (label, tuple(float(label == x) for x in folders.CLASSES))
        for (fold, name), (label, _) in folders.TESTED.items()
    }
    one = folders.write(tmp_path / "one")
    other = folders.write(tmp_path / "other", right, epochs=3)
    out = tmp_path / "out"
    ensemble.run([one, other], str(out))
    report.write_comparison([one, other, out])
    text = (tmp_path / "comparison.md").read_text()
    # Of the classes one errs on a half, on all and on none; p is two of four signs.
    assert re.search(r"\| `out` \| \+50.00 \| .* \| 0.5000 \| 1.0000 \|", text)
    assert "| `out` | Ensemble of one and other | demo | none | 100.00 ± 0.00 |" in text
    assert "critical difference" in text  # of three
    assert "Every training tested the same utterances" in text
    assert "Without a config: `out`." in text
    assert "| train.epochs | 2 | 3 |" in text  # of those that have one
