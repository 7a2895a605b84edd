"""The table, report.md and the report of a whole workdir."""

import dataclasses
import re

import pytest

from ser_jax.corpora import descriptions
from ser_jax.corpora.utterance import Exclusion
from ser_jax.errors import InputError
from ser_jax.report import markdown, protocol, report, timing, training_report
from ser_jax.report import score_table as table
from ser_jax.report.score_table import percent
from ser_jax.workdir import results
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.predictions import Prediction
from tests.report import workdirs

CLASSES = ("angry", "sad")
PUBLISHED = {
    "paper": "Xu et al. 2021",
    "wa": 0.7934,
    "ua": "77.54 ± 1.20",
    "protocol": "random 80/20",
    "subset": "improvised",
    "happy": "hap+exc",
    "split": "random_80_20",
    "selection": None,
}
EXCLUDED = [
    *(Exclusion(f"short{number:02}", "too short", "30 ms") for number in range(13)),
    Exclusion("lost", "missing wav"),
]


TESTED = workdirs.predictions(
    [
        *[("a", "s1", "angry", "angry"), ("b", "s1", "sad", "angry")],
        *[("c", "s2", "angry", "angry"), ("d", "s2", "sad", "sad")],
        ("e", "s2", "sad", "angry"),
    ]
)


def _results(*, synthetic=False, selection="val", excluded=(), text=None, **protocol):
    rules = {"subset": "all", "happy": "hap+exc", "split": "session5"}
    rules |= {"validation": "random", "val_fraction": 0.1, "selection": selection}
    runs = [
        {"fold": "s1", "seed": 0, "best_epoch": 4, "epochs": 9},
        {"fold": "s2", "seed": 0, "best_epoch": None, "epochs": 9},
    ]
    utterances = results.count_utterances(5, excluded, padded_short=3)
    about = {"utterances": utterances, "text": text, "protocol": rules | protocol}
    about["corpus_is_synthetic"] = synthetic
    return workdirs.summarise(TESTED, CLASSES, runs=runs, **about)


def _workdir(folder, **more):
    return workdirs.write(folder, _results(), TESTED, **more)


def _markdown(summary, published=None, command=""):
    published = published or {}
    training = WorkdirContents(summary, TESTED, published=published, command=command)
    return markdown.render(training_report.document(training))


def test_table_by_hand():
    # s1: recalls 1 and 0; s2: recalls 1 and 1/2, accuracy 2/3.
    # Pooled: recalls 1 and 1/3; 3 of 5 right.
    text = """
area_attn on demo, subset all, happy hap+exc, split session5, selection val

fold        seed           UA %           WA %     macro-F1 %  n  best epoch
----------  ----  -------------  -------------  -------------  -  ----------
s1             0          50.00          50.00          33.33  2           4
s2             0          75.00          66.67          66.67  3           –
----------  ----  -------------  -------------  -------------  -  ----------
mean ± std        62.50 ± 17.68  58.33 ± 11.79  50.00 ± 23.57
pooled                    66.67          60.00          58.33  5
paper              77.54 ± 1.20          79.34              –

pooled UA: 66.67 %, 95 % interval 50.00 to 100.00 (over utterances)
  too narrow: fewer than five speakers are tested, or named

differs from the paper:
  subset: paper: improvised, here: all
  split: paper: random_80_20, here: session5
"""
    assert table.text(_results(), PUBLISHED) == text.strip()


def test_the_spread_is_over_folds_and_over_seeds_where_there_is_one():
    """UA of two folds by two seeds: 1 and 1/2, 1/2 and 0. Means 3/4 and 1/4."""
    lines = [
        Prediction(f"{fold}{label}", fold, seed, "x", "x", label, said, (0.5, 0.5))
        for fold, seed, right in (("a", 0, 2), ("a", 1, 1), ("b", 0, 1), ("b", 1, 0))
        for number, label in enumerate(("n", "p"))
        for said in [label if number < right else "np".replace(label, "")]
    ]
    none = {"best_epoch": None, "epochs": None}
    runs = [{"fold": f, "seed": s} | none for f in "ab" for s in (0, 1)]
    both = workdirs.summarise(
        lines, ("n", "p"), runs=runs, protocol={"selection": "last"}
    )
    assert table.spread(both, "ua") == "50.00 ± 35.36"  # 0.5 / sqrt(2)
    assert "(mean ± std over folds, 4 runs)" in table.headline(both)
    one = workdirs.summarise(
        lines[:4], ("n", "p"), runs=runs[:2], protocol={"selection": "last"}
    )
    assert table.spread(one, "ua") == "75.00 ± 35.36"
    assert "(mean ± std over seeds, 2 runs)" in table.headline(one)


def test_few_speakers_are_said_to_be_few():
    averaged = {"seeds": 1, "ua": 0.7, "ua_interval": [0.66, 0.78], "speakers": 10}
    averaged |= {"interval_over": "speakers"}
    results = {"averaged": averaged, "ua": {}}
    assert table.sureness(results)[1:] == [
        "  12.00 points wide: 10 speakers are few, and differ"
    ]
    averaged["speakers"] = 40
    assert len(table.sureness(results)) == 1


def test_a_run_scored_inside_of_an_epoch_is_named_by_its_update(tmp_path):
    summary = _results()
    places = ((4.5, 36), (None, None))
    for run, (epoch, update) in zip(summary["runs"], places, strict=True):
        run |= {"best_epoch": epoch, "best_update": update, "updates": 40}
    lines = table.text(summary, {}).splitlines()
    assert lines[2].endswith("best update") and lines[4].endswith(" 36")
    metrics = [
        {"epoch": epoch, "update": 8 * epoch, "fold": "s1", "seed": 0, "val_ua": 0.5}
        for epoch in (4.5, 5)
    ]
    text = markdown.render(
        training_report.document(WorkdirContents(summary, TESTED, metrics=metrics))
    )
    assert "| fold | seed | updates | update scored | val UA % |" in text
    assert "| s1 | 0 | 40 | 36 | 50.00 |" in text


def test_nothing_chosen_is_called_the_last():
    header = table.text(_results(selection="last"), {}).splitlines()[2]
    assert header.endswith("last epoch")


def test_one_fold_has_no_spread_over_folds():
    lines = [
        dataclasses.replace(line, seed=seed)
        for seed in (0, 1)
        for line in TESTED
        if line.fold == "s1"
    ]
    ends = {"best_epoch": 1, "epochs": 1}
    runs = [{"fold": "s1", "seed": seed} | ends for seed in (0, 1)]
    rules = {"split": "random_80_20", "selection": "val"}
    summary = workdirs.summarise(lines, CLASSES, runs=runs, protocol=rules)
    assert table.sureness(summary)[-1] == "spread of UA: 0.00 over seeds"
    assert protocol.runs(summary) == "2 (1 fold; seeds 0, 1)"


def test_table_without_a_paper_has_no_paper_row():
    for published in ({}, {"paper": None, "ua": None}):
        assert "paper" not in table.text(_results(), published)


def test_scores_of_another_corpus_stand_in_no_table():
    elsewhere = {**PUBLISHED, "corpus": "iemocap"}
    text = table.text(_results(), elsewhere)
    assert "77.54" not in text and "The paper's scores are of iemocap." in text
    page = _markdown(_results(), elsewhere)
    assert not [x for x in page.splitlines() if "77.54" in x and x.startswith("|")]
    assert "UA 77.54 ± 1.20 %, WA 79.34 % on iemocap." in page
    assert "| paper |" in _markdown(_results(), {**PUBLISHED, "corpus": "demo"})


@pytest.mark.parametrize(
    ("options", "short", "long"),
    [
        ({"synthetic": True}, "synthetic corpus", "**Synthetic corpus.**"),
        (
            {"selection": "test"},
            "paper mode: epoch chosen on test data",
            "**Paper mode: epoch chosen on test data.**",
        ),
    ],
)
def test_banners_are_there_exactly_when_they_apply(options, short, long):
    summary, honest = _results(**options), _results()
    assert f"[{short}]" in table.text(summary, {})
    assert f"> {long}" in _markdown(summary)
    assert short not in table.text(honest, {})
    assert long not in _markdown(honest)


def test_the_corpus_warning_stands_above_its_scores():
    (warning,) = descriptions.warnings(["emodb", "tess"])
    assert warning.startswith("TESS: two speakers: a test on an unseen one")
    assert f"> {warning}" in _markdown(_results() | {"corpus_warnings": [warning]})


def test_differences_from_the_paper_are_listed_one_by_one():
    text = _markdown(_results(), PUBLISHED)
    assert "- subset: paper: improvised, here: all" in text
    assert "- split: paper: random_80_20, here: session5" in text
    assert "happy: paper" not in text  # the same
    assert "selection: paper" not in text  # not stated
    assert "Not stated for the paper: corpus, selection." in text
    assert "Its protocol: random 80/20" in text


def test_equal_protocol_is_said_to_be_equal():
    same = {"corpus": "demo", "subset": "all", "split": "session5"}
    published = PUBLISHED | same | {"selection": "val"}
    text = _markdown(_results(), published)
    assert "What differs" not in text
    assert "Corpus and protocol are the paper's" in text


def test_report_says_what_was_run():
    text = _markdown(_results(), command="python run.py --config=x:demo")
    assert "leave one session out" in text
    assert "`random`, random utterances that do not train" in text
    assert "speakers shared with training (10%)" in text
    assert "best validation UA" in text
    assert "2 (2 folds; seeds 0)" in text
    assert "python run.py --config=x:demo" in text
    assert "| train |  | 12.3 | 100% |" in text
    assert "git commit: unknown" in text
    assert "gives no published number" in text
    assert "| sad | 2 (67%) | 1 (33%) | 3 | 33.33 |" in text


def test_promises_and_repeated_sentences_are_said():
    text = _markdown(
        _results(
            promises=("no utterance is in two parts",), test_sentences_also_trained=0.75
        )
    )
    assert "- Promised: no utterance is in two parts" in text
    assert "- Sentences: 75% of the test utterances" in text
    assert "Sentences:" not in _markdown(_results(test_sentences_also_trained=0.0))


def _text(mean, *, scripts=False, **more):
    return {
        "source": "transcript",
        "word_vectors": "glove-6b-50d",
        "words": 400,
        "unknown_words": 10,
        "without_words": 0,
        "sentences_also_in_training": {"mean": mean, "max": mean + 0.2},
        "scripts_also_in_training": scripts,
    } | more


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        (None, False),
        (_text(0.04), False),
        (_text(0.41), True),
        (_text(0.0, scripts=True), True),
    ],
)
def test_text_that_repeats_is_warned_of(text, warns):
    summary = _results(text=text)
    short, long = table.text(summary, {}), _markdown(summary)
    assert ("[test sentences also in training]" in short) == warns
    assert ("> **Test sentences also in training.**" in long) == warns
    assert ("--config.protocol.split=session5_script" in long) == warns
    assert ("warning: " in short) == warns
    assert ("41% of the test utterances (up to 61% in a fold)" in short) == (
        text == _text(0.41)
    )
    assert ("the same plays in training and test" in short) == (
        bool(text) and text["scripts_also_in_training"]
    )


def test_report_says_what_was_read():
    text = _markdown(_results(text=_text(0.02, without_words=3)))
    assert "- Words: transcripts, vectors `glove-6b-50d`; 2.5% of 400 words" in text
    assert "; 3 utterances without a known word" in text
    assert "- Sentences: 2% of the test utterances" in text
    asr = {"recognizer": "whisper-tiny.en", "num_words": 583, "empty": 2, "wer": 0.348}
    text = _markdown(_results(text=_text(0.0, source="asr", asr=asr)))
    assert "- Words: recognized speech" in text
    assert "`whisper-tiny.en`, word error rate 34.8% of the corpus's 583" in text
    unknown = _text(0.0, source="asr", asr=asr | {"wer": None})
    assert "word error rate unknown" in _markdown(_results(text=unknown))
    assert "Words:" not in _markdown(_results())
    assert "text" not in _results()


def test_random_split_warns_of_shared_speakers_and_group_names_its_column():
    shared = _markdown(_results(split="random_80_20"))
    assert "**the parts share speakers**" in shared
    grouped = _results(split="group", group_by="speaker", groups=5)
    text = _markdown(grouped)
    assert "column `speaker`, folds: 5" in text
    assert "share speakers" not in text


def test_exclusions_are_counted_and_the_first_listed():
    text = _markdown(_results(excluded=EXCLUDED))
    assert "- Excluded: 14" in text
    assert "    - too short: 13" in text
    assert "        - `short00`: 30 ms" in text
    assert "short03" not in text
    assert "... and 10 more in results.json" in text
    assert "        - `lost`\n" in text
    assert "- Padded to a window: 3" in text


def test_fold_without_a_class_is_marked():
    summary = _results()
    summary["runs"][0]["absent_classes"] = ["sad"]
    assert "s1*" in table.text(summary, {})
    assert "leaves out: s1 (sad)." in _markdown(summary)
    for run, value in zip(summary["runs"], (0.25, 0.5), strict=True):
        run["ua_of_all"] = value
    assert "the mean UA would be 37.50 %." in _markdown(summary)
    del summary["runs"][1]["ua_of_all"]  # of an older workdir
    assert "would be" not in _markdown(summary)


def test_percent():
    assert percent(0.77) == "77.00"
    assert percent(77.0) == "77.00"
    assert percent("about 77") == "about 77"
    assert percent(None) == percent(float("nan")) == "–"


def test_workdir_report_needs_results_and_predictions_only(tmp_path):
    printed = report.write_report(_workdir(tmp_path))
    assert "pooled" in printed
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "metrics.jsonl has no loss" in text
    for link in re.findall(r"\]\((figures/.*?)\)", text):
        assert (tmp_path / link).stat().st_size > 5000
    assert not (tmp_path / "figures/learning_curves.png").exists()


def test_workdir_report_uses_config_and_metrics(tmp_path):
    line = {"epoch": 1, "fold": "s1", "seed": 0, "train_loss": 0.5}
    config = {"config": {}, "published": PUBLISHED, "command": "python run.py --x"}
    folder = _workdir(tmp_path, metrics=[line], **config)
    printed = report.write_report(folder)
    assert "77.54 ± 1.20" in printed
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "python run.py --x" in text
    assert (tmp_path / "figures/learning_curves.png").exists()
    assert "(figures/learning_curves.png)" in text


def test_writing_the_report_again_changes_nothing(tmp_path):
    report.write_report(_workdir(tmp_path))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    report.write_report(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["results.json", "predictions.csv"])
def test_missing_file_is_an_input_error(tmp_path, name):
    (_workdir(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=name):
        report.write_report(tmp_path)
    with pytest.raises(InputError, match="a trained folder at .*w, got none; check"):
        report.write_report(tmp_path / "w")


@pytest.mark.parametrize(
    ("old", "new"), [("angry,angry", "angry,sad"), ("s2", "s3"), ("p_sad", "p_glad")]
)
def test_predictions_of_another_training_are_refused(tmp_path, old, new):
    path = _workdir(tmp_path) / "predictions.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"evaluate"):
        report.write_report(tmp_path)
    assert not (tmp_path / "report.md").exists()


def test_times_by_part_in_the_job_s_order_with_shares():
    summary = _results()
    summary["seconds"] = {"training": 6.0, "mine": 1.0, "start": 3.0, "other": 0.0}
    summary["seconds"]["total"] = 10.0
    summary["start_up"] = {"first_step_after_s": 4.24, "programs": 9, "from_cache": 7}
    started = "First step 4.2 s after the start; 9 programs, 7 of them from the cache."
    assert timing.summary(summary).splitlines() == [
        "time [s]: start 3.0, training 6.0, mine 1.0; total 10.0",
        started,
    ]
    lines = _markdown(summary).splitlines()
    first = lines.index("| start | imports, flags, checking the config | 3.0 | 30% |")
    assert lines[first + 1] == "| training | all other training steps | 6.0 | 60% |"
    assert lines[first + 2].startswith("| other | none of these | 0.0 | 0% |")
    assert lines[first + 3] == "| mine |  | 1.0 | 10% |"
    assert lines[first + 4] == "| total |  | 10.0 | 100% |"
    assert lines[first + 6].endswith(started)


def test_the_figures_time_is_added_to_the_results(tmp_path):
    folder = _workdir(tmp_path)
    printed = report.write_report(folder, lambda: {"report": 2.5, "total": 2.5})
    assert printed.splitlines()[-1] == "time [s]: report 2.5; total 2.5"
    again = report.write_report(folder)  # and kept
    assert again == printed
    assert "| report | figures | 2.5 | 100% |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("same", [True, False])
def test_seeds_that_tested_other_utterances_are_no_row(same):
    """Two seeds of one fold, as random splits have it: of one utterance, or of two."""
    lines = [
        Prediction(name, "split", seed, "1F", "x", "sad", "sad", (0.5, 0.5))
        for seed, name in ((0, "a"), (1, "a" if same else "b"))
    ]
    runs = [{"fold": "split", "seed": x, "best_epoch": 1, "epochs": 1} for x in (0, 1)]
    rules = {"split": "random_80_20", "selection": "val"}
    results = workdirs.summarise(lines, ("angry", "sad"), runs=runs, protocol=rules)
    names = [row[0] for row in table.rows(results, {})]
    assert ("seeds averaged" in names) is same
    told = table.sureness(results)[0]
    assert ("where several tested an utterance" in told) is not same
