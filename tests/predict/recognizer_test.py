"""A recording gets the answer it got in the evaluation, whatever is around it."""

import csv
import functools

import numpy as np
import pytest
import soundfile

from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.predict.answers import SpeechInput
from ser_jax.predict.recognizer import Recognizer
from ser_jax.workdir import predictions
from tests.workdirs import CONFIGS

# Features come from samples in JAX here and from librosa there: float32 either way.
SAME_FEATURES = 1e-5
# Another batch, another order of float32 sums.
SAME_WINDOWS = 2e-6


@pytest.fixture(scope="module")
def recognizers(workdirs):
    """`recognizers(name)`, made once, so that its programs compile once."""
    return functools.cache(lambda name: Recognizer.from_workdir(workdirs(name)))


def _texts(manifest) -> dict[str, str | None]:
    with manifest.open() as file:
        return {row["path"][:-4]: row.get("text") for row in csv.DictReader(file)}


# A system takes seconds to train and compile: two of five wait for `-m slow`.
SYSTEMS = [
    pytest.param(
        name, marks=pytest.mark.slow if name in ("acrnn", "head_fusion") else ()
    )
    for name in CONFIGS
]


@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_are_those_of_the_evaluation(name, workdirs, tones):
    """Every rule, recipe, padding and vote: the last run against predictions.csv."""
    workdir = workdirs(name)
    lines, classes = predictions.read(workdir / "predictions.csv")
    folder = tones.parent
    texts = _texts(folder / "said.csv") if name == "mscnn_spu" else {}
    spread = np.ptp([line.posteriors for line in lines], axis=0).max()
    assert spread > 100 * SAME_FEATURES  # or any answer would do
    fold, seed = lines[-1].fold, lines[-1].seed
    assert (lines[0].fold, lines[0].seed) != (fold, seed)
    recognizer = Recognizer.from_workdir(workdir, f"{fold},{seed}")
    assert recognizer.trained.classes == classes
    tested = [x for x in lines if (x.fold, x.seed) == (fold, seed)]
    answers = list(
        recognizer.answers(
            (x, recognizer.open(folder / f"{x.utterance}.wav", texts.get(x.utterance)))
            for x in tested
        )
    )
    assert [line for line, _ in answers] == tested
    for line, answer in answers:
        np.testing.assert_allclose(
            answer.probabilities, line.posteriors, atol=SAME_FEATURES
        )
        assert answer.label == line.prediction


def test_all_runs_are_averaged(workdirs, recognizers, tones):
    workdir, both = workdirs("area_attn"), recognizers("area_attn")
    samples, rate_hz = audio.read(tones.parent / "s1_low_0.wav")
    alone = [
        Recognizer.from_workdir(workdir, f"{fold},{seed}")(samples, rate_hz)
        for fold, seed in both.trained.runs
    ]
    answer = both(samples, rate_hz)
    mean = np.mean([x.probabilities for x in alone], axis=0)
    assert np.ptp([x.probabilities for x in alone], axis=0).max() > 1e-3
    np.testing.assert_allclose(answer.probabilities, mean, atol=SAME_WINDOWS)
    assert answer.probabilities.sum() == pytest.approx(1.0, abs=1e-6)
    assert answer.end_s == pytest.approx(len(samples) / rate_hz)


@pytest.mark.parametrize(
    "name",
    [
        "area_attn",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("afcn", "head_fusion")),
    ],
)
def test_what_else_is_in_the_batch_changes_nothing(name, recognizers, tones):
    recognizer = recognizers(name)
    files = sorted(tones.parent.glob("s1_*.wav")) + sorted(tones.parent.glob("s2_*"))
    alone = {x: recognizer(*audio.read(x)).probabilities for x in files}
    assert np.ptp(list(alone.values()), axis=0).max() > 1e-3
    for order in (files, files[::-1]):
        for file, answer in recognizer.answers((x, recognizer.open(x)) for x in order):
            np.testing.assert_allclose(
                answer.probabilities, alone[file], atol=SAME_WINDOWS
            )


def test_rate_and_channels_are_brought_to_the_models(recognizers, tones, tmp_path):
    """Two channels at 44.1 kHz: the mean of the channels, resampled as in training."""
    recognizer = recognizers("area_attn")
    rng = np.random.default_rng(1)
    wave = rng.normal(size=(30_011, 2)).cumsum(axis=0) * 1e-3
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.clip(wave, -1, 1), 44_100)
    whole = audio.load(path, 16_000)
    expected = recognizer(whole, 16_000).probabilities
    on_disk = next(recognizer.answers([(0, recognizer.open(path))]))[1]
    np.testing.assert_allclose(on_disk.probabilities, expected, atol=SAME_WINDOWS)
    in_memory, rate_hz = soundfile.read(path)
    np.testing.assert_allclose(
        recognizer(in_memory, rate_hz).probabilities, expected, atol=SAME_WINDOWS
    )


@pytest.mark.parametrize("rate_hz", [16_000, 11_025])
def test_a_stream_answers_each_window_as_a_recording(recognizers, rate_hz):
    """However the samples are dealt into chunks; the end is answered for as well."""
    recognizer = recognizers("head_fusion")
    rng = np.random.default_rng(2)
    samples = (0.1 * rng.normal(size=int(2.93 * rate_hz))).astype(np.float32)
    samples *= np.linspace(0.05, 1.0, len(samples), dtype=np.float32)

    def streamed(cuts):
        chunks = np.split(samples, cuts)
        return list(recognizer.stream(chunks, rate_hz, window_s=0.8, hop_s=0.3))

    whole = streamed([])
    starts = [answer.start_s for answer in whole]
    np.testing.assert_allclose(starts, 0.3 * np.arange(9), atol=1e-9)
    assert whole[-1].end_s == pytest.approx(2.93, abs=1e-4)
    assert whole[-1].end_s - whole[-1].start_s < 0.8
    for cuts in ([1, 2, 3], range(97, len(samples), 997), [len(samples) - 1]):
        for a, b in zip(whole, streamed(cuts), strict=True):
            assert (a.start_s, a.end_s) == (b.start_s, b.end_s)
            np.testing.assert_allclose(
                a.probabilities, b.probabilities, atol=SAME_WINDOWS
            )
    if rate_hz == 16_000:
        for answer in whole:
            first, last = (round(x * rate_hz) for x in (answer.start_s, answer.end_s))
            alone = recognizer(samples[first:last], rate_hz)
            np.testing.assert_allclose(
                answer.probabilities, alone.probabilities, atol=SAME_WINDOWS
            )


def test_a_stream_does_not_wait_for_the_end(recognizers):
    recognizer = recognizers("area_attn")
    heard = []

    def microphone():
        for second in range(5):
            heard.append(second)
            yield 0.1 * np.ones(16_000, np.float32)

    answers = recognizer.stream(microphone(), 16_000, window_s=1.5, hop_s=1.0)
    assert next(answers).end_s == 1.5 and heard == [0, 1]
    assert next(answers).end_s == 2.5 and heard == [0, 1, 2]
    assert [x.end_s for x in answers] == [3.5, 4.5, 5.0]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "one sample or more"),
        (np.array([0.1, np.nan]), "1 NaN or Inf"),
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\)"),
        (np.zeros(9, np.int16), "int16. Divide by 32768"),
    ],
)
def test_unusable_samples_are_refused(recognizers, samples, message):
    with pytest.raises(InputError, match=message):
        recognizers("area_attn")(samples, 16_000)


def test_windows_that_leave_gaps_are_refused(recognizers):
    recognizer = recognizers("area_attn")
    with pytest.raises(InputError, match="hop <= window"):
        next(recognizer.stream([np.zeros(9)], 16_000, window_s=1.0, hop_s=1.1))


def test_a_model_that_reads_asks_for_the_text(recognizers, tones):
    recognizer = recognizers("mscnn_spu")
    samples, rate_hz = audio.read(tones.parent / "s1_low_0.wav")
    with pytest.raises(InputError, match="--text="):
        recognizer(samples, rate_hz)
    one = recognizer(samples, rate_hz, text="low it is").probabilities
    other = recognizer(samples, rate_hz, text="high").probabilities
    assert np.abs(one - other).max() > 1e-4
    recognizer(samples, rate_hz, text="")  # without a known word: an answer


def test_a_bad_recording_passes_between_good_ones(recognizers, tones):
    recognizer = recognizers("area_attn")
    good = recognizer.open(tones.parent / "s1_low_0.wav")
    bad = audio.AudioError("empty audio", "nothing")

    def breaks():
        yield np.zeros(16_000, np.float32)
        raise audio.AudioError("truncated audio", "later")

    torn = type(good)(breaks(), 32_000)
    answers = dict(
        recognizer.answers([("a", good), ("b", bad), ("c", torn), ("d", good)])
    )
    assert list(answers) == ["a", "b", "c", "d"]
    assert answers["b"] is bad and "later" in str(answers["c"])
    np.testing.assert_array_equal(
        answers["a"].probabilities, answers["d"].probabilities
    )


def test_a_recording_is_read_to_its_end(recognizers):
    """Torn behind the 0.8 s that this rule reads: still no answer."""
    recognizer = recognizers("afcn")

    def breaks():
        yield np.ones(16_000, np.float32)
        raise audio.AudioError("truncated audio", "later")

    torn = SpeechInput(breaks(), 32_000)
    assert isinstance(next(recognizer.answers([(0, torn)]))[1], audio.AudioError)


def test_huge_samples_are_an_error_of_their_recording_alone(recognizers):
    recognizer = recognizers("area_attn")
    huge = SpeechInput([np.full(16_000, 1e30, np.float32)], 16_000)
    fine = SpeechInput([np.full(16_000, 0.1, np.float32)], 16_000)
    answers = dict(recognizer.answers([("huge", huge), ("fine", fine)]))
    assert "unusable samples" in str(answers["huge"])
    with pytest.raises(audio.AudioError, match="unusable samples"):
        recognizer.answer(huge)
    assert np.isfinite(answers["fine"].probabilities).all()


def test_windows_have_no_words(recognizers):
    recognizer = recognizers("mscnn_spu")
    with pytest.raises(InputError, match="audio alone"):
        next(recognizer.stream([np.zeros(9)], 16_000))


def test_a_header_that_counts_itself_is_a_warning(workdirs, tones, tmp_path):
    recognizer = Recognizer.from_workdir(workdirs("area_attn"))
    whole = (tones.parent / "s1_low_0.wav").read_bytes()
    odd = bytearray(whole)
    odd[40:44] = (len(whole) - 44 + 36).to_bytes(4, "little")
    (tmp_path / "odd.wav").write_bytes(odd)
    first = recognizer.answer(recognizer.open(tones.parent / "s1_low_0.wav"))
    second = recognizer.answer(recognizer.open(tmp_path / "odd.wav"))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert second.warnings == (second.warnings[0], *first.warnings)
    assert "its header declares 36 bytes more" in second.warnings[0]
