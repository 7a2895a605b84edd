"""Several workdirs beside each other, against examples worked by hand."""

import re

import pytest

from ser_jax.errors import InputError
from ser_jax.report import report
from ser_jax.workdir import files
from ser_jax.workdir.predictions import Prediction
from tests.report import hostile, workdirs
from tests.report.page import Page

CLASSES = ("angry", "sad")
RIGHT = {"s1": ("angry", "sad"), "s2": ("angry", "sad")}


def _workdir(folder, decided, config=None, *, tested="ab", corpus="tones", **protocol):
    """Two folds of two utterances; `decided` by fold, in the order angry, sad."""
    predictions = workdirs.predictions(
        (f"{name}{fold}", fold, label, decision)
        for fold, pair in decided.items()
        for name, label, decision in zip(tested, CLASSES, pair, strict=True)
    )
    rules = {"split": "group", "selection": "val", "validation": "random"} | protocol
    summary = workdirs.summarise(
        predictions,
        CLASSES,
        corpus=corpus,
        model=folder.name,
        protocol=rules,
        seconds={"training": 7.0},
        versions={"jax": "0.10.2", "device": "1 x cpu"},
        git_commit="0123456789abcdef",
        memory={"host_peak_bytes": 3 * 2**30, "device_peak_bytes": None},
    )
    stored = {}
    if config is not None:
        stored = {"config": config, "published": None, "command": "python run.py"}
    return workdirs.write(folder, summary, predictions, **stored)


def _compare(*folders):
    """Page and Markdown of a comparison."""
    report.write_comparison(folders)
    parent = folders[0].parent
    text = (parent / "comparison.md").read_text()
    return Page((parent / "comparison.html").read_text()), text


def _table(page, caption):
    return page.tables[[c.startswith(caption) for c in page.captions].index(True)]


def test_scores_and_pairs_by_hand(tmp_path):
    base = {"s1": ("sad", "sad"), "s2": ("angry", "sad")}  # UA 50 and 100
    other = {"s1": ("angry", "sad"), "s2": ("sad", "angry")}  # 100 and 0
    folders = [
        _workdir(tmp_path / "base", base),
        _workdir(tmp_path / "other", other),
        _workdir(tmp_path / "best", RIGHT),
    ]
    page, text = _compare(*folders)
    scores = _table(page, "Scores")
    assert [row[:5] for row in scores[1:]] == [
        ["base", "base", "tones", "none", "75.00 ± 35.36"],
        ["other", "other", "tones", "none", "50.00 ± 70.71"],
        ["best", "best", "tones", "none", "100.00 ± 0.00"],
    ]
    assert [row[-4:] for row in scores[1:]] == [
        ["75.00", "75.00", "2", "4"],
        ["50.00", "50.00", "2", "4"],
        ["100.00", "100.00", "2", "4"],
    ]
    # Less base: +50 and -100; +50 and 0.
    assert _table(page, "Beside base")[1:] == [
        ["other", "-25.00 ± 106.07", "1", "1", "2"],
        ["best", "+25.00 ± 35.36", "1", "0", "2"],
    ]
    assert _table(page, "Pooled")[1] == ["base", "50.00", "100.00"]
    origin = _table(page, "Where")[1]
    assert origin[1:] == ["1 x cpu", "0.10.2", "0123456789ab", "7.0", "3,072"]
    assert "Every training tested the same utterances" in page.text
    assert "| `other` | -25.00 ± 106.07 | 1 | 1 | 2 |" in text


def test_other_test_utterances_are_not_paired(tmp_path):
    page, text = _compare(
        _workdir(tmp_path / "a", RIGHT),
        _workdir(tmp_path / "b", RIGHT, tested="cd", corpus="other", split="session5"),
    )
    assert not any(caption.startswith("Beside") for caption in page.captions)
    assert "did not test the same utterances" in page.text
    assert "- corpus: tones / other" in text and "- split: group / session5" in text
    assert "subset: " not in text.split("## What differs")[1]


def test_config_keys_that_differ_are_listed(tmp_path):
    first = {"train": {"epochs": 3, "batch_size": 16}, "model": {"own": 1}}
    second = {"train": {"epochs": 5, "batch_size": 16}, "model": {"mine": [2, 3]}}
    page, _ = _compare(
        _workdir(tmp_path / "a", RIGHT, first), _workdir(tmp_path / "b", RIGHT, second)
    )
    table = _table(page, "Config keys")
    assert table == [["key", "a", "b"], ["train.epochs", "3", "5"]]


def test_stamps_name_their_workdirs(tmp_path):
    page, text = _compare(
        _workdir(tmp_path / "honest", RIGHT),
        _workdir(tmp_path / "paper", RIGHT, selection="test"),
    )
    assert "> **Paper mode: epoch chosen on test data.**" in text
    assert "Here: paper ." in page.text
    assert [row[3] for row in _table(page, "Scores")[1:]] == [
        "none",
        "paper mode: epoch chosen on test data",
    ]


def test_out_and_folders_of_one_name(tmp_path):
    for parent in ("x", "y"):
        (tmp_path / parent).mkdir()
    one = _workdir(tmp_path / "x" / "w", RIGHT)
    two = _workdir(tmp_path / "y" / "w", RIGHT)
    printed = report.write_comparison([one, two], str(tmp_path / "new" / "place"))
    page = Page((tmp_path / "new" / "place" / "comparison.html").read_text())
    names = [row[0] for row in _table(page, "Scores")[1:]]
    assert names == [str(one), str(two)] and str(one) in printed
    with pytest.raises(InputError, match="every workdir once"):
        report.write_comparison([one, one])


def test_buckets_keep_their_address(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert str(files.resolve("gs://bucket/a/w")) == "gs://bucket/a/w"
    assert files.resolve("gs://bucket/a/w").name == "w"
    assert str(files.resolve("w")) == str(tmp_path / "w")


def test_hostile_workdirs_are_compared_as_text(tmp_path):
    (tmp_path / "odd").mkdir()
    odd = hostile.workdir(tmp_path / "odd")
    page, text = _compare(_workdir(tmp_path / "<b>`even", RIGHT), odd)
    assert len(page.scripts) == 1 and not page.named("img") and not page.named("b")
    assert "The classes differ" in page.text
    outside = re.sub(r"(?<!\\)`[^`]*`", "", text)  # code is shown as it is
    assert not re.search(r"<(b|script|img)\b", outside)


def _of_speakers(
    folder, right, promises, seeds=(0,), selection="val", classes=CLASSES, **about
):
    """Six speakers, a fold each, of two utterances; the first is right, if `right`."""
    said = (("angry", "angry" if right else "sad"), ("sad", "sad"))
    lines = [
        Prediction(f"{s}{label}", f"s{s}", seed, f"s{s}", "x", label, decided, sure)
        for seed in seeds
        for s in range(6)
        for label, decided in said
        for sure in [tuple(float(decided == name) for name in classes)]
    ]
    rules = {"split": "group", "selection": selection, "promises": promises}
    rules |= about.pop("rules", {})
    none = {"best_epoch": None, "epochs": None}
    runs = [{"fold": f"s{s}", "seed": seed} | none for seed in seeds for s in range(6)]
    about |= {"runs": runs, "model": folder.name, "protocol": rules}
    results = workdirs.summarise(lines, classes, **about)
    return workdirs.write(folder, results, lines)


def test_a_difference_is_tested_by_speaker(tmp_path):
    kept = ["no speaker is in both training and test"]
    folders = [
        _of_speakers(tmp_path / name, right, kept)
        for name, right in (("base", False), ("same", False), ("best", True))
    ]
    page, text = _compare(*folders)
    assert _table(page, "Beside base, seeds averaged")[1:] == [
        ["same", "+0.00", "+0.00 to +0.00", "1.0000", "1.0000"],
        # All signs of one kind, of 2^6: two of 64.
        ["best", "+50.00", "+50.00 to +50.00", "0.0312", "0.0625"],
    ]
    assert "utterances of 6 speakers" in text
    # Two share the last place with everybody: 1, 2.5, 2.5. With q = 3.314 of three
    # systems: 3.314 / sqrt(2) * sqrt(3 * 4 / (6 * 6)).
    ranked = [["best", "1.00"], ["base", "2.50"], ["same", "2.50"]]
    assert _table(page, "Mean rank")[1:] == ranked
    assert "critical difference, 1.35 (Nemenyi" in text
    # Ties corrected: 12 / (6 * 12 - 18) ... of six tables alike, exp(-12 / 2).
    assert "p = 0.0025 (Friedman)" in text


def test_other_seeds_of_the_same_folds_are_tested_by_speaker(tmp_path):
    kept = ["no speaker is in both training and test"]
    base = _of_speakers(tmp_path / "base", False, kept)
    best = _of_speakers(tmp_path / "best", True, kept, seeds=(0, 1))
    page, text = _compare(base, best)
    assert "in the same folds, with other seeds." in text and "Run by run" not in text
    assert _table(page, "Beside base, seeds averaged")[1:] == [
        ["best", "+50.00", "+50.00 to +50.00", "0.0312", "0.0312"]
    ]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_order_of_the_classes_plays_no_part(tmp_path, seeds):
    kept = ["no speaker is in both training and test"]
    turned = {"classes": CLASSES[::-1], "seeds": seeds}
    page, text = _compare(
        _of_speakers(tmp_path / "base", True, kept, seeds),
        _of_speakers(tmp_path / "same", True, kept, **turned),
        _of_speakers(tmp_path / "less", False, kept, **turned),
    )
    assert [row[:3] for row in _table(page, "Beside base, seeds averaged")[1:]] == [
        ["same", "+0.00", "+0.00 to +0.00"],
        ["less", "-50.00", "-50.00 to -50.00"],
    ]
    header, *recalls = _table(page, "Pooled")
    assert header[1:] == ["angry %", "sad %"]
    assert recalls == [
        ["base", "100.00", "100.00"],
        ["same", "100.00", "100.00"],
        ["less", "0.00", "100.00"],
    ]
    assert "classes: " not in text.split("## What differs")[1].split("##")[0]


def test_folds_that_leak_are_not_tested(tmp_path):
    shared = ["speakers and sessions are SHARED by training and test"]
    folders = [
        _of_speakers(tmp_path / name, name == "a", promises)
        for name, promises in (
            ("a", ["no speaker is in both training and test"]),
            ("b", shared),
        )
    ]
    page, text = _compare(*folders)
    assert "No significance test: a workdir does not keep" in text
    assert not any("seeds averaged" in caption for caption in page.captions)


@pytest.mark.parametrize(
    ("selection", "promise", "reason"),
    [
        ("test", "no speaker and no session", "chosen on the test part"),
        ("val", "no speaker_group", "does not keep the speakers"),
    ],
)
def test_there_is_no_p_where_the_test_part_chose_or_shares_speakers(
    tmp_path, selection, promise, reason
):
    kept = [f"{promise} is in both training and test"]
    folders = [
        _of_speakers(tmp_path / name, name == "a", kept, selection=selection)
        for name in "ab"
    ]
    page, text = _compare(*folders)
    assert "No significance test" in text and reason in text
    assert not any("seeds averaged" in caption for caption in page.captions)


REPEATED = {"sentences_also_in_training": {"mean": 0.5}}


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"rules": {"kept_apart": ["session"]}}, "does not keep the speakers"),
        ({"rules": {"leaks": ["3 takes probably are in two parts"]}}, "3 takes"),
        ({"text": REPEATED}, "training had the tested sentences"),
    ],
)
def test_there_is_no_p_where_something_else_leaks(tmp_path, about, reason):
    kept = ["no speaker is in both training and test"]
    fine = _of_speakers(tmp_path / "a", True, kept, rules={"kept_apart": ["speaker"]})
    page, text = _compare(fine, _of_speakers(tmp_path / "b", False, kept))
    assert "0.0312" in text
    page, text = _compare(fine, _of_speakers(tmp_path / "c", False, kept, **about))
    assert "No significance test" in text and reason in text
    assert not any("seeds averaged" in caption for caption in page.captions)


def test_what_does_not_count_is_not_compared(tmp_path):
    """Of `pairs` the trained corpus's own speakers: right in one system only."""

    def pairs(folder, right):
        said = [(c, f"{c}{i}", c == "theirs" or right) for c in OWN for i in range(6)]
        lines = [
            Prediction(f"{s}{label}", "own", 0, s, "x", label, decided, sure, corpus)
            for corpus, s, well in said
            for label, decided in (
                ("angry", "angry" if well else "sad"),
                ("sad", "sad"),
            )
            for sure in [tuple(float(decided == name) for name in CLASSES)]
        ]
        runs = [{"fold": "own", "seed": 0, "best_epoch": None, "epochs": None}]
        runs[0]["tested"] = "theirs"
        rules = {"split": "pairs", "selection": "val", "kept_apart": ["speaker"]}
        about = {"runs": runs, "model": folder.name, "protocol": rules}
        results = workdirs.summarise(lines, CLASSES, **about)
        return workdirs.write(folder, results, lines)

    page, text = _compare(pairs(tmp_path / "a", False), pairs(tmp_path / "b", True))
    (row,) = _table(page, "Beside a, seeds averaged")[1:]
    assert row == ["b", "+0.00", "+0.00 to +0.00", "1.0000", "1.0000"]
    assert "of 6 speakers" in text


OWN = ("own", "theirs")
