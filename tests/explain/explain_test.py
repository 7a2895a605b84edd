"""`explain` end to end: figures, the answer, the test parts, errors."""

import csv
import dataclasses
import json
import shutil
from unittest import mock

import matplotlib.image
import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

from ser_jax import figure_style
from ser_jax.errors import InputError
from ser_jax.explain import explain, recording_figure
from ser_jax.explain import recording as recording_lib
from ser_jax.explain.corpus import CorpusSegments
from ser_jax.explain.explainer import Explainer
from ser_jax.features.spec import RECIPES
from ser_jax.predict import trained_model
from ser_jax.predict.answers import Answer
from ser_jax.predict.recognizer import Recognizer
from tests import workdirs as tiny
from tests.untrained import untrained

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Noise of 1.3 s with a tone in it, which is more than one segment."""
    path = tmp_path_factory.mktemp("speech") / "a b.wav"
    rng = np.random.default_rng(0)
    wave = 0.05 * rng.standard_normal(int(1.3 * RATE_HZ))
    wave[8000:12000] += 0.4 * np.sin(np.arange(4000) * 0.5)
    soundfile.write(path, wave, RATE_HZ)
    return path


@pytest.fixture
def titles(monkeypatch):
    """Titles of the figures that are drawn."""
    texts, draw = [], Figure.suptitle

    def suptitle(self, text, **options):
        texts.append(text)
        return draw(self, text, **options)

    monkeypatch.setattr(Figure, "suptitle", suptitle)
    return texts


@pytest.fixture(scope="module")
def explanation_of(workdirs, tones, datasets, speech):
    """Explains the recording by a system, read from a workdir or made in memory."""

    def run(name):
        if name in ("area_attn", "mscnn_spu"):  # other tests need these workdirs
            recognizer = Recognizer.from_workdir(workdirs(name))
        else:
            config = tiny.CONFIGS[name](tones, datasets)
            recognizer = Recognizer(untrained(config))
        recording = recognizer.open(speech, "low unknown is")
        explainer = Explainer(recognizer.trained)
        explanation = recording_lib.explain(recognizer, explainer, recording)
        answer = next(recognizer.answers([("x", recording)]))[1]
        np.testing.assert_array_equal(
            explanation.answer.probabilities, answer.probabilities
        )
        spec = recognizer.trained.spec
        shape = spec.num_bands, spec.num_frames(recording.num_samples)
        assert explanation.features.shape == explanation.saliency.shape == shape
        np.testing.assert_allclose(np.nanmean(explanation.saliency), 1, rtol=1e-6)
        return explanation

    return run


@pytest.mark.parametrize(
    "name", ["area_attn", pytest.param("acrnn", marks=pytest.mark.slow), "afcn"]
)
def test_attention_over_a_recording(explanation_of, name):
    explanation = explanation_of(name)
    attention = explanation.attention
    assert explanation.over_time == (name == "acrnn") and not explanation.words
    np.testing.assert_allclose(sum(explanation.shares.values()), 1, atol=1e-5)
    # Cells at the ends of a segment are longer or shorter than the others.
    assert abs(np.nanmean(attention) - 1) < 0.15
    frames = explanation.features.shape[1]
    assert attention.shape == (len(explanation.bands) - 1, frames)


@pytest.mark.slow
def test_attention_over_words(explanation_of):
    explanation = explanation_of("mscnn_spu")
    assert [word for word, _, _ in explanation.words] == ["low", "is"]
    assert explanation.attention is None
    sums = np.sum([row[1:] for row in explanation.words], axis=0)
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "bands", "words"),
    [
        (["area 1x1", "area 1x2", "area 2x1", "area 2x2"], range(0, 65, 16), []),
        ([f"head {i}" for i in range(5)], (0, 30, 64), []),
        (["time"], (0, 64), []),
        ([], (), [("low", 0.75, 0.5), ("is", 0.25, 0.5)]),
    ],
)
def test_a_figure_shows_every_map(titles, names, bands, words):
    """Titles and labels of the axes for each kind of attention."""
    rng = np.random.default_rng(0)
    frames, rows = 40, len(bands) - 1
    maps = {name: rng.uniform(0.1, 3, (rows, frames)) / len(names) for name in names}
    for values in maps.values():
        values[:, 30:] = np.nan  # no segment came there
    explanation = recording_lib.RecordingExplanation(
        answer=Answer(("calm", "glad"), np.array([0.3, 0.7]), (), 0.0, 0.5),
        features=rng.normal(size=(64, frames)),
        saliency=rng.uniform(0, 2, (64, frames)),
        maps=maps,
        shares=dict.fromkeys(names, 1 / max(1, len(names))),
        bands=tuple(bands),
        words=words,
    )
    with mock.patch.object(figure_style, "png", wraps=figure_style.png) as png:
        content = recording_figure.draw(explanation, RECIPES["logmel64"], "title")
    assert content.startswith(b"\x89PNG")
    figure = png.call_args.args[0]
    axes = figure.get_axes()
    labels = {ax.get_ylabel() for ax in axes}
    assert "log-mel\n(log10 of power)" in labels
    assert "saliency of\nglad (× mean)" in labels
    assert ("attention\n(× even)" in labels) == bool(names)
    small = [ax.get_title() for ax in axes if "%" in ax.get_title()]
    assert len(small) == (len(names) if len(names) > 1 else 0)
    ticks = [tick.get_text() for ax in axes for tick in ax.get_xticklabels()]
    assert all(word in ticks for word, _, _ in words)
    assert titles[-1] == "title"


def test_figures_are_titled_and_bad_recordings_fail_alone(
    workdirs, speech, tmp_path, titles, monkeypatch
):
    load = trained_model.load

    def load_with_stamp(*args):
        trained = load(*args)
        stamps = ["paper mode: epoch chosen on test data"]
        provenance = {**trained.provenance, "stamps": stamps}
        return dataclasses.replace(trained, provenance=provenance)

    monkeypatch.setattr(trained_model, "load", load_with_stamp)
    bad, long, huge = (tmp_path / f"{name}.wav" for name in ("bad", "long", "huge"))
    bad.write_bytes(b"RIFF")
    soundfile.write(long, np.zeros(121 * 8000), 8000)
    soundfile.write(huge, np.full(RATE_HZ, 1e30), RATE_HZ, subtype="FLOAT")
    folder, workdir = tmp_path / "new", str(workdirs("area_attn"))
    names = [str(path) for path in (bad, speech, long, huge, speech)]
    summary, failed = explain.explain_files(workdir, names, out=str(folder))
    assert len(failed) == 3 and failed[0].startswith(f"{bad}: ")
    assert "at most 120 s" in failed[1] and "unusable samples" in failed[2]
    figures = sorted(folder.iterdir())
    assert [p.name for p in figures] == ["a_b-2.explain.png", "a_b.explain.png"]
    image = matplotlib.image.imread(figures[0])
    assert min(image.shape[:2]) > 500 and image[..., :3].std() > 0.1
    whole = [title for title in titles if "a b.wav" in title]
    assert whole and all("paper mode" in title for title in whole)
    assert "area_attn trained on" in whole[0] and "mean of" in whole[0]
    assert workdir in whole[0]
    assert len(summary.splitlines()) == 3


def test_the_corpus_is_scored_as_the_evaluation_did(workdirs, tmp_path, titles):
    workdir = workdirs("area_attn")
    table = explain.explain_corpus(str(workdir), out=str(tmp_path))
    results = json.loads((workdir / "results.json").read_text())
    evaluated = {(run["fold"], run["seed"]): run for run in results["runs"]}
    summary = json.loads((tmp_path / "deletion.json").read_text())
    assert len(summary["runs"]) == len(evaluated)
    for run in summary["runs"]:
        want = evaluated[run["fold"], run["seed"]]
        np.testing.assert_allclose(run["ua"], want["ua"], atol=1e-9)
        assert run["utterances"] == want["n_test"]
    with (tmp_path / "deletion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["share"] for row in rows} == {"0", "0.1", "0.3", "0.5"}
    assert summary["conclusion"] in table and "Deletion test of area_attn" in table
    for name in ("deletion.png", "classes.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert any("deletion test" in title for title in titles)


def test_one_run_and_words_and_a_corpus_that_moved(workdirs, tones, tmp_path):
    workdir = workdirs("mscnn_spu")
    fold, seed = trained_model.load(workdir).runs[1]
    moved = tmp_path / tones.parent.name
    shutil.copytree(tones.parent, moved)
    explain.explain_corpus(
        str(workdir),
        run=f"{fold},{seed}",
        out=str(tmp_path / "out"),
        data=str(moved / "said.csv"),
    )
    summary = json.loads((tmp_path / "out" / "deletion.json").read_text())
    assert [run["fold"] for run in summary["runs"]] == [fold]


def test_other_labels_are_refused(workdirs, tones, tmp_path):
    moved = tmp_path / tones.parent.name
    shutil.copytree(tones.parent, moved)
    text = (moved / "manifest.csv").read_text()
    text = text.replace("s1_low_0.wav,low", "s1_low_0.wav,mid")
    (moved / "manifest.csv").write_text(text)
    trained = trained_model.load(workdirs("area_attn"))
    with pytest.raises(InputError, match="--data="):
        CorpusSegments(trained, str(moved / "manifest.csv"))


def test_another_corpus_is_refused(workdirs):
    trained = trained_model.load(workdirs("area_attn"))
    folds = tuple({**fold, "test": fold["test"][1:]} for fold in trained.folds)
    with pytest.raises(InputError, match="its checkpoint's folds in splits.json"):
        CorpusSegments(dataclasses.replace(trained, folds=folds))


def test_a_model_that_does_not_attend_says_so(workdirs, speech, tmp_path, monkeypatch):
    run = Explainer.explain

    def explain_without_maps(*args):
        return run(*args)._replace(maps={})

    monkeypatch.setattr(Explainer, "explain", explain_without_maps)
    workdir = str(workdirs("area_attn"))
    summary, _ = explain.explain_files(workdir, [str(speech)], out=str(tmp_path))
    assert "does not attend" in summary and (tmp_path / "a_b.explain.png").exists()
    line = explain.explain_corpus(workdir, out=str(tmp_path / "corpus"))
    assert "does not attend" in line and "\n" not in line
    assert not (tmp_path / "corpus").exists()


def test_bad_input_is_one_line(workdirs, speech, tmp_path):
    workdir = str(workdirs("area_attn"))
    file = tmp_path / "file"
    file.write_text("x")
    for call, words in {
        lambda: explain.explain_files(workdir, ["-"]): "standard input",
        lambda: explain.explain_files(str(tmp_path), [str(speech)]): "checkpoints",
        lambda: explain.explain_files(workdir, [str(speech)], run="x,0"): "--run",
        lambda: explain.explain_files(workdir, [str(speech)], out=str(file)): "--out",
        lambda: explain.explain_corpus(workdir, run="moon,0"): "--run: expected",
    }.items():
        with pytest.raises(InputError, match=words) as error:
            call()
        assert "\n" not in str(error.value)
