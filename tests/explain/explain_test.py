"""`explain` end to end: pictures, the answer, the test parts, errors."""

import csv
import dataclasses
import json
import shutil

import matplotlib.image
import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

from ser_jax.errors import InputError
from ser_jax.explain import explain
from ser_jax.explain import recording as explaining
from ser_jax.explain.viewer import Viewer
from ser_jax.models import AreaAttn
from ser_jax.predict import trained_model as trained_workdir
from ser_jax.predict.recognizer import Recognizer

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Noise of 1.3 s with a tone in it, which is more than one window."""
    path = tmp_path_factory.mktemp("speech") / "a b.wav"
    rng = np.random.default_rng(0)
    wave = 0.05 * rng.standard_normal(int(1.3 * RATE_HZ))
    wave[8000:12000] += 0.4 * np.sin(np.arange(4000) * 0.5)
    soundfile.write(path, wave, RATE_HZ)
    return path


@pytest.fixture
def titles(monkeypatch):
    """Titles of the figures that are drawn."""
    said, draw = [], Figure.suptitle

    def suptitle(self, text, **options):
        said.append(text)
        return draw(self, text, **options)

    monkeypatch.setattr(Figure, "suptitle", suptitle)
    return said


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("area_attn", "grid"),
        ("acrnn", "time"),
        ("afcn", "grid"),
        ("head_fusion", "grid"),
        ("mscnn_spu", "words"),
    ],
)
def test_a_recording_is_explained_with_the_answer_that_predict_gives(
    workdirs, speech, name, kind
):
    recognizer = Recognizer.from_workdir(workdirs(name))
    viewer = Viewer(recognizer.trained)
    recording = recognizer.open(speech, "low unknown is")
    found = explaining.explain(recognizer, viewer, "x", recording)
    answer = next(recognizer.answers([("x", recording)]))[1]
    np.testing.assert_allclose(found.probabilities, answer.probabilities, atol=1e-5)
    frames = recognizer.trained.spec.num_frames(recording.num_samples)
    bands = recognizer.trained.spec.num_bands
    assert found.features.shape == found.saliency.shape == (bands, frames)
    np.testing.assert_allclose(np.nanmean(found.saliency), 1, rtol=1e-6)
    if kind == "words":
        assert [word for word, _, _ in found.words] == ["low", "is"]
        assert found.attention is None
        sums = np.sum([row[1:] for row in found.words], axis=0)
        np.testing.assert_allclose(sums, 1, rtol=1e-5)
        return
    attention = found.attention
    assert attention.over_time == (kind == "time") and not found.words
    np.testing.assert_allclose(sum(attention.shares.values()), 1, atol=1e-5)
    # Cells at the ends of a window are longer or shorter than the others.
    assert abs(np.nanmean(attention.total) - 1) < 0.15
    assert attention.total.shape == (len(attention.bands) - 1, frames)


def test_pictures_are_written_and_say_what_must_be_said(
    workdirs, speech, tmp_path, titles, monkeypatch
):
    load = trained_workdir.load

    def stamped(*given):
        found = load(*given)
        stamps = ["paper mode: epoch chosen on test data"]
        return dataclasses.replace(
            found, provenance={**found.provenance, "stamps": stamps}
        )

    monkeypatch.setattr(trained_workdir, "load", stamped)
    said, _ = explain.explain_files(
        str(workdirs("area_attn")),
        [str(speech), str(speech)],
        out=str(tmp_path / "new"),
    )
    pictures = sorted((tmp_path / "new").iterdir())
    assert [p.name for p in pictures] == ["a_b-2.explain.png", "a_b.explain.png"]
    image = matplotlib.image.imread(pictures[0])
    assert min(image.shape[:2]) > 500 and image[..., :3].std() > 0.1
    whole = [title for title in titles if "a b.wav" in title]
    assert whole and all("paper mode" in title for title in whole)
    assert "area_attn trained on" in whole[0] and "mean of" in whole[0]
    assert str(workdirs("area_attn")) in whole[0]
    assert len(said.splitlines()) == 3


def test_the_corpus_is_scored_as_the_evaluation_did(workdirs, tmp_path, titles):
    workdir = workdirs("area_attn")
    said = explain.explain_corpus(str(workdir), out=str(tmp_path))
    results = json.loads((workdir / "results.json").read_text())
    known = {(run["fold"], run["seed"]): run for run in results["runs"]}
    found = json.loads((tmp_path / "deletion.json").read_text())
    assert len(found["runs"]) == len(known)
    for run in found["runs"]:
        want = known[run["fold"], run["seed"]]
        np.testing.assert_allclose(run["ua"], want["ua"], atol=1e-9)
        assert run["utterances"] == want["n_test"]
    with (tmp_path / "deletion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["share"] for row in rows} == {"0", "0.1", "0.3", "0.5"}
    assert found["conclusion"] in said and "Deletion test of area_attn" in said
    for name in ("deletion.png", "classes.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert any("deletion test" in title for title in titles)


def test_one_run_and_words_and_a_corpus_that_moved(workdirs, tones, tmp_path):
    workdir = workdirs("mscnn_spu")
    fold, seed = trained_workdir.load(workdir).runs[1]
    moved = tmp_path / tones.parent.name
    shutil.copytree(tones.parent, moved)
    explain.explain_corpus(
        str(workdir),
        run=f"{fold},{seed}",
        out=str(tmp_path / "out"),
        data=str(moved / "said.csv"),
    )
    found = json.loads((tmp_path / "out" / "deletion.json").read_text())
    assert [run["fold"] for run in found["runs"]] == [fold]


def test_other_labels_are_refused(workdirs, tones, tmp_path):
    moved = tmp_path / tones.parent.name
    shutil.copytree(tones.parent, moved)
    text = (moved / "manifest.csv").read_text()
    text = text.replace("s1_low_0.wav,low", "s1_low_0.wav,mid")
    (moved / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match="--data="):
        explain.explain_corpus(
            str(workdirs("area_attn")),
            out=str(tmp_path),
            data=str(moved / "manifest.csv"),
        )


def test_a_model_that_does_not_attend_says_so(workdirs, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(AreaAttn, "attention_maps", lambda self, state, batch: {})
    workdir = str(workdirs("area_attn"))
    said, _ = explain.explain_files(workdir, [str(speech)], out=str(tmp_path))
    assert "does not attend" in said and (tmp_path / "a_b.explain.png").exists()
    said = explain.explain_corpus(workdir, out=str(tmp_path / "corpus"))
    assert "does not attend" in said and "\n" not in said
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


def test_what_is_too_long_to_draw_is_refused(workdirs, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(121 * 8000), 8000)
    workdir = str(workdirs("area_attn"))
    _, failed = explain.explain_files(workdir, [str(path)], out=str(tmp_path))
    assert len(failed) == 1 and "at most 120 s" in failed[0]
    assert not list(tmp_path.glob("*.png"))


def test_one_bad_file_does_not_stop_the_others(workdirs, speech, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    _, failed = explain.explain_files(
        str(workdirs("area_attn")), [str(bad), str(speech)], out=str(tmp_path)
    )
    assert len(failed) == 1 and failed[0].startswith(f"{bad}: ")
    assert (tmp_path / "a_b.explain.png").exists()


def test_another_corpus_is_refused(workdirs):
    workdir = workdirs("area_attn")
    found = trained_workdir.load(workdir)
    folds = tuple({**fold, "test": fold["test"][1:]} for fold in found.folds)
    changed = dataclasses.replace(found, folds=folds)
    with pytest.raises(InputError, match="expected the corpus it was trained on"):
        explain.corpus_views.Parts(changed)


def test_samples_beyond_all_measure_fail_alone(workdirs, speech, tmp_path):
    bad = tmp_path / "huge.wav"
    soundfile.write(bad, np.full(16_000, 1e30), 16_000, subtype="FLOAT")
    _, failed = explain.explain_files(
        str(workdirs("area_attn")), [str(bad), str(speech)], out=str(tmp_path)
    )
    assert len(failed) == 1 and "unusable samples" in failed[0]
