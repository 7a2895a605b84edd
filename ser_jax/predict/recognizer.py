"""The emotion of recordings, given their samples."""

import collections
import dataclasses
import functools
from collections.abc import Hashable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.errors import InputError
from ser_jax.features import audio, online_segments
from ser_jax.features.audio import AudioError
from ser_jax.features.signal_quality import SignalQuality
from ser_jax.features.spec import FeatureSpec
from ser_jax.predict import forward, segment_reader, trained_model
from ser_jax.predict.answers import (
    Answer,
    PendingAnswer,
    SpeechInput,
    sliding_windows,
)
from ser_jax.predict.segment_reader import Segment, SegmentReader
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.predict.word_embedder import WordEmbedder


class Recognizer:
    """Recognizes emotions with the mean of a workdir's runs, `trained`.

    `words` looks up the words of texts; None if the model reads none.
    """

    def __init__(self, trained: TrainedModel):
        """Compiles nothing yet.

        Raises:
          InputError: The model reads more than sound and words.
        """
        workdir, shapes = trained.provenance["workdir"], trained.input_shapes
        if "speaker_embedding" in shapes:
            raise InputError(
                f"{workdir}: expected a model that reads sound or words; this one also "
                "reads speaker embeddings, which a new recording does not have. Train "
                "with --config.data.speaker_embeddings=''."
            )
        data = trained.config.data
        self.trained = trained
        self._reader = SegmentReader(trained.config, trained.spec)
        self.words = None
        if "words" in shapes:
            self.words = WordEmbedder(data.word_vectors, shapes["words"], workdir)
        runs = range(len(trained.runs))
        # On the device once, not at every call.
        self._runs = [jax.device_put(trained.run_weights(r)) for r in runs]
        # One program per size of segments and of the batch; runs share them.
        recipe = {"spec": trained.spec, "channels": data.channels}
        if isinstance(trained.spec, FeatureSpec):
            features = functools.partial(online_segments.features, **recipe)
        else:  # the reader has made them

            def features(cut, _):
                return cut.frames

        log_peaks = functools.partial(online_segments.log_peaks, **recipe)
        self._features = jax.jit(features, static_argnums=1)
        self._log_peaks = jax.jit(log_peaks, static_argnums=1)
        self._posteriors = jax.jit(self._run_posteriors)

    @classmethod
    def from_workdir(cls, workdir, run: str = "") -> "Recognizer":
        """Reads a trained workdir, local or `gs://`; see `trained_model.load`."""
        return cls(trained_model.load(workdir, run))

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the model's input; other rates are resampled."""
        return self.trained.spec.sample_rate_hz

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, *, text: str | None = None
    ) -> Answer:
        """Answers for one recording, as the evaluation of the training would.

        Args:
          samples: [n] or [n, channels] in [-1, 1], n >= 1.
          sample_rate_hz: Their rate.
          text: Transcript; models that read words need it.

        Raises:
          InputError: There are no samples, some are not finite, or the text is missing.
          AudioError: Samples are so large that the probabilities are not finite.
        """
        chunk = _mono(samples)
        if not len(chunk):
            raise InputError("Expected one sample or more; got none.")
        rate_hz = self.sample_rate_hz
        blocks = list(audio.resample([chunk], sample_rate_hz, rate_hz))
        return self.answer(SpeechInput(blocks, sum(map(len, blocks)), text))

    def answer(self, recording: SpeechInput) -> Answer:
        """Answers for one recording.

        Raises:
          AudioError: It cannot be read to its end, or its probabilities are not finite.
          InputError: A text is missing.
        """
        # The same path as many recordings take, so that it is the same answer.
        _, answer = next(self.answers([(0, recording)]))
        if isinstance(answer, AudioError):
            raise answer
        return answer

    def open(self, path, text: str | None = None) -> SpeechInput:
        """A recording on disk, read block by block; AudioError if it cannot be used."""
        stream = audio.AudioStream(path, self.sample_rate_hz)
        return SpeechInput(stream, stream.num_samples, text, audio.header_note(path))

    def answers(
        self, recordings: Iterable[tuple[Hashable, SpeechInput | AudioError]]
    ) -> Iterator[tuple[Hashable, Answer | AudioError]]:
        """Answers for many recordings, several of them in one call of the model.

        Args:
          recordings: (a name of yours, recording); an error in its place passes.

        Yields:
          (the name, the answer or what is wrong with the recording), in order.

        Raises:
          InputError: A text is missing.
        """
        queue: collections.deque[PendingAnswer] = collections.deque()
        for size, batch in segment_reader.group(self._segments(recordings, queue)):
            # The last segment is repeated to fill the batch: there are more scores.
            for (pending, _), (posteriors, distance) in zip(
                batch, self._scores(size, batch), strict=False
            ):
                pending.posteriors.append(posteriors)
                pending.distances.append(distance)
            # In the order they came, though a later one may be complete before.
            while queue and queue[0].is_complete:
                yield queue[0].name, queue.popleft().answer(self.trained)
        for pending in queue:
            yield pending.name, pending.answer(self.trained)

    def features(
        self, recording: SpeechInput
    ) -> Iterator[tuple[int, Segment, jax.Array]]:
        """The segments of one recording as the model reads them, batch by batch.

        Yields:
          (how many of the batch are segments, the batch, its features [B, T, F, C] not
          yet normalised).

        Raises:
          AudioError: The recording cannot be read.
          InputError: A text is missing.
        """
        cut = self._cut(recording, recording.blocks)
        for size, batch in segment_reader.group(cut):
            segments = segment_reader.stack(batch)
            yield len(batch), segments, self._features(segments.cut, size)

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        sample_rate_hz: int,
        *,
        window_s: float = 2.0,
        hop_s: float = 0.5,
    ) -> Iterator[Answer]:
        """Answers window by window, each as if it were a recording of its own.

        A window starts every hop until the recording is covered; the last one may be
        shorter. How the samples are split into chunks changes nothing.

        Args:
          chunks: Samples [n] or [n, channels] in [-1, 1], in order.
          sample_rate_hz: Their rate.
          window_s: Length of a window.
          hop_s: From one start to the next, at most `window_s`.

        Yields:
          An answer as soon as its window is complete.

        Raises:
          InputError: The lengths do not fit, a sample is not finite, or the model also
            reads words.
        """
        if self.words:
            raise InputError(
                "--window: expected a model of audio alone; this one reads words, "
                "which no window has of its own. Leave --window out."
            )
        rate_hz = self.sample_rate_hz
        finite = np.isfinite([window_s, hop_s]).all()
        window, hop = (round(x * rate_hz) if finite else 0 for x in (window_s, hop_s))
        if not 1 <= hop <= window:
            raise InputError(
                f"--window, --hop: expected 0 < hop <= window; got {window_s:g} s and "
                f"{hop_s:g} s."
            )
        mono = (_mono(chunk) for chunk in chunks)
        blocks = audio.resample(mono, sample_rate_hz, rate_hz)
        for windows in sliding_windows(blocks, window, hop):
            # All that a block completes at once: they share calls of the model.
            recordings = ((start, SpeechInput([x], len(x))) for start, x in windows)
            for start, answer in self.answers(recordings):
                if isinstance(answer, AudioError):
                    raise answer
                start_s = start / rate_hz
                end_s = answer.end_s + start_s
                yield dataclasses.replace(answer, start_s=start_s, end_s=end_s)

    def _segments(self, recordings, queue: collections.deque):
        """All segments of all recordings as (T, (their pending answer, segment))."""
        for name, recording in recordings:
            pending = PendingAnswer(name, SignalQuality(self.sample_rate_hz))
            queue.append(pending)
            if isinstance(recording, AudioError):
                pending.error = recording
                continue
            pending.note = recording.note
            try:
                blocks = map(pending.quality.add, recording.blocks)
                for size, segment in self._cut(recording, blocks):
                    pending.num_segments += 1
                    yield size, (pending, segment)
                # What no segment reads counts for the quality, and may be torn.
                collections.deque(blocks, maxlen=0)
            except AudioError as error:
                pending.error = error
            pending.is_read = True

    def _cut(self, recording: SpeechInput, blocks: Iterable[np.ndarray]):
        """The segments of a recording as (T, segment); `blocks` are its own."""
        side_inputs = self.words.embed(recording.text) if self.words else {}
        peak = 0.0
        # What depends on the whole recording needs a reading of its own first.
        mean, std = 0.0, 1.0
        if self.trained.config.data.level == "unit":
            mean, std = audio.level(recording.blocks)
        scaled = functools.partial(_scaled, mean=mean, std=std)
        blocks = scaled(blocks)
        if self.trained.spec.top_db:
            tiles = self._reader.tiles(scaled(recording.blocks), recording.num_samples)
            peak = max(
                float(np.max(self._log_peaks(segment_reader.stack(batch).cut, size)))
                for size, batch in segment_reader.group(tiles)
            )
        for size, segment in self._reader.segments(blocks, recording.num_samples, peak):
            yield size, segment._replace(side_inputs=side_inputs)

    def _scores(self, size: int, batch: list) -> Iterator[tuple[np.ndarray, float]]:
        """Per segment its posteriors [R, K] and distance from the training speech."""
        segments = segment_reader.stack([segment for _, segment in batch])
        frames = self._features(segments.cut, size)
        by_run = [
            self._posteriors(frames, segments.num_frames, segments.side_inputs, *run)
            for run in self._runs
        ]
        posteriors = np.stack([np.asarray(x) for x, _ in by_run], axis=1)
        distances = np.mean([np.asarray(x) for _, x in by_run], axis=0)
        return zip(posteriors, distances.tolist(), strict=True)

    def _run_posteriors(self, frames, num_frames, side_inputs, weights, mean, std):
        """Posteriors [B, K] of one run and mean squares [B] of the normalised frames."""
        data = self.trained.config.data
        inputs = forward.model_inputs(frames, num_frames, mean, std, data)
        # Without padding and deltas, so that the training part's mean is 1.
        real = jnp.arange(frames.shape[1]) < num_frames[:, None]
        static = inputs["frames"][..., : self.trained.spec.num_static]
        squares = jnp.where(real[..., None], jnp.square(static).mean(axis=-1), 0.0)
        distance = squares.sum(axis=(1, 2)) / (num_frames * frames.shape[2])
        model = self.trained.merge(weights)
        return forward.posteriors(model, inputs | side_inputs), distance


def _scaled(blocks: Iterable[np.ndarray], mean: float, std: float):
    return ((block - mean) / std for block in blocks)


def _mono(samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples)
    # Integers could be of any width; guessing their scale would give wrong answers.
    if np.issubdtype(samples.dtype, np.integer):
        raise InputError(
            f"Expected samples in [-1, 1]; got {samples.dtype}. Divide by "
            f"{np.iinfo(samples.dtype).max + 1}."
        )
    samples = samples.astype(np.float32)
    if samples.ndim not in (1, 2):
        raise InputError(
            f"Expected samples [n] or [n, channels]; got shape {samples.shape}."
        )
    samples = samples.mean(axis=1) if samples.ndim == 2 else samples
    if bad := np.count_nonzero(~np.isfinite(samples)):
        raise InputError(f"Expected finite samples; got {bad} NaN or Inf.")
    return samples
