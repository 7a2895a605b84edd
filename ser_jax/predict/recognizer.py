"""The emotion of recordings, given their samples."""

import collections
from collections.abc import Hashable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.errors import InputError
from ser_jax.features import audio, online_segments
from ser_jax.features.audio import AudioError
from ser_jax.predict import answers, forward, segment_reader, trained_model
from ser_jax.predict import spoken_words as texts
from ser_jax.predict.answers import Answer, SpeechInput


class Recognizer:
    """Answers with the mean of a workdir's runs.

    Attributes:
      trained: The weights and what belongs to them.
    """

    def __init__(self, found: trained_model.TrainedModel):
        """Compiles nothing yet.

        Raises:
          InputError: The model reads more than sound and words.
        """
        if "speaker_embedding" in found.input_shapes:
            raise InputError(
                f"{found.provenance['workdir']}: expected a model that reads sound or words; "
                "this one also reads speaker embeddings, which a new recording does "
                "not have. Train with --config.data.speaker_embeddings=''."
            )
        config = found.config
        self.trained = found
        self._cutter = segment_reader.Cutter.of(config, found.spec)
        self._words = None
        if "words" in found.input_shapes:
            self._words = texts.Words(
                config.data.word_vectors,
                found.input_shapes["words"],
                found.provenance["workdir"],
            )
        self._runs = [
            jax.device_put(found.run_weights(r)) for r in range(len(found.runs))
        ]
        self._features = jax.jit(self._features_of, static_argnames="size")
        self._peaks = jax.jit(self._peaks_of, static_argnames="size")
        self._posteriors = jax.jit(self._posteriors_of)

    @classmethod
    def from_workdir(cls, workdir, run: str = "") -> "Recognizer":
        """Reads a trained workdir, local or `gs://`; see `trained.load`."""
        return cls(trained_model.load(workdir, run))

    @property
    def sample_rate_hz(self) -> int:
        """The rate at which the model hears; others are resampled."""
        return self.trained.spec.sample_rate_hz

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, *, text: str | None = None
    ) -> Answer:
        """Answers for one recording, as the evaluation of the training would.

        The windows' posteriors are joined as `segment.vote` says, then the runs are
        averaged.

        Args:
          samples: [n] or [n, channels] in [-1, 1], n >= 1.
          sample_rate_hz: Their rate.
          text: What is said; models that read words need it.

        Raises:
          InputError: There are no samples, some are not finite, or the text is missing.
        """
        chunk = _mono(samples)
        if not len(chunk):
            raise InputError("Expected one sample or more; got none.")
        rate_hz = self.sample_rate_hz
        blocks = list(audio.resample([chunk], sample_rate_hz, rate_hz))
        recording = SpeechInput(blocks, sum(map(len, blocks)), text)
        return next(self.answers([(0, recording)]))[1]

    def open(self, path, text: str | None = None) -> SpeechInput:
        """A recording on disk, read block by block.

        Raises:
          AudioError: It cannot be used.
        """
        stream = audio.AudioStream(path, self.sample_rate_hz)
        return SpeechInput(stream, stream.num_samples, text)

    def words_of(self, recording: SpeechInput) -> list[str]:
        """What the model reads of a recording's text; [] if it reads none."""
        return self._words.kept(recording.text) if self._words else []

    def remember(self, texts: list[str]) -> None:
        """Looks the words of many texts up at once; nothing for other models."""
        if self._words:
            self._words.remember(texts)

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
        waiting: collections.deque[answers.Pending] = collections.deque()
        for size, batch in segment_reader.batches(self._windows(recordings, waiting)):
            for (owner, _), score in zip(
                batch, self._scored(size, batch), strict=False
            ):
                owner.scores.append(score)
            while waiting and waiting[0].is_complete:
                yield waiting[0].name, waiting.popleft().answer(self.trained)
        for owner in waiting:
            yield owner.name, owner.answer(self.trained)

    def features(
        self, recording: SpeechInput
    ) -> Iterator[tuple[int, segment_reader.Window, jax.Array, dict[str, np.ndarray]]]:
        """The windows of one recording as the model reads them, batch by batch.

        Yields:
          (how many of the batch are windows; the batch; its features [B, T, F, C], not
          yet normalised; `words` and `word_mask` if the model reads them).

        Raises:
          AudioError: The recording cannot be read.
          InputError: A text is missing.
        """
        words = self._words.embed(recording.text) if self._words else ()
        peak = self._log_peak(recording)
        cut = self._cutter.windows(recording.blocks, recording.num_samples, peak)
        for size, batch in segment_reader.batches((size, (None, x)) for size, x in cut):
            window = segment_reader.stacked([window for _, window in batch])
            count = len(window.num_frames)
            named = zip(("words", "word_mask"), words, strict=False)
            others = {name: np.stack([x] * count) for name, x in named}
            yield len(batch), window, self._features(window, size=size), others

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
        shorter. How the samples are dealt into chunks changes nothing.

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
        if self._words:
            raise InputError(
                "--window: expected a model that only hears; this one reads words, "
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
        for found in answers.sliding(blocks, window, hop):
            recordings = ((start, SpeechInput([x], len(x))) for start, x in found)
            for start, answer in self.answers(recordings):
                yield answer.moved(start / rate_hz)

    def _windows(self, recordings, waiting):
        """All windows of all recordings as (T, (their recording, window))."""
        for name, recording in recordings:
            owner = answers.Pending(name, self.sample_rate_hz)
            waiting.append(owner)
            if isinstance(recording, AudioError):
                owner.error = recording
                continue
            if self._words:
                owner.words = self._words.embed(recording.text)
            try:
                peak = self._log_peak(recording)
                blocks = map(owner.quality.add, recording.blocks)
                for size, window in self._cutter.windows(
                    blocks, recording.num_samples, peak
                ):
                    owner.expected += 1
                    yield size, (owner, window)
                collections.deque(blocks, maxlen=0)  # what no window reads
            except AudioError as error:
                owner.error = error
            owner.is_read = True

    def _log_peak(self, recording: SpeechInput) -> float:
        """Largest log energy of a recording, for recipes that cut below it."""
        if not self.trained.spec.top_db:
            return 0.0
        peak = -np.inf
        tiles = self._cutter.tiles(recording.blocks, recording.num_samples)
        for size, batch in segment_reader.batches(
            (size, (None, x)) for size, x in tiles
        ):
            found = self._peaks(
                segment_reader.stacked([window for _, window in batch]), size=size
            )
            peak = max(peak, float(np.max(found)))
        return peak

    def _scored(self, size: int, batch: list) -> Iterator[tuple[np.ndarray, float]]:
        """Per window the posteriors [R, K] and the distance from the training."""
        window = segment_reader.stacked([window for _, window in batch])
        inputs = {}
        if self._words:
            vectors, mask = zip(*(owner.words for owner, _ in batch), strict=True)
            at = np.minimum(np.arange(len(window.num_frames)), len(batch) - 1)
            inputs = {"words": np.stack(vectors)[at], "word_mask": np.stack(mask)[at]}
        frames = self._features(window, size=size)
        found = [
            self._posteriors(frames, window.num_frames, inputs, *run)
            for run in self._runs
        ]
        posteriors = np.stack([np.asarray(x) for x, _ in found], axis=1)
        distances = np.mean([np.asarray(x) for _, x in found], axis=0)
        return zip(posteriors, distances.tolist(), strict=True)

    def _features_of(self, window: segment_reader.Window, *, size: int):
        data, spec = self.trained.config.data, self.trained.spec
        return online_segments.features_of_samples(
            window.values, _place(window), size, spec, data.channels
        )

    def _peaks_of(self, window: segment_reader.Window, *, size: int):
        data, spec = self.trained.config.data, self.trained.spec
        return online_segments.log_peaks(
            window.values, _place(window), size, spec, data.channels
        )

    def _posteriors_of(self, frames, num_frames, inputs, weights, mean, std):
        """Posteriors [B, K] of one run and mean squares [B] of the normalised frames."""
        data = self.trained.config.data
        batch = forward.model_inputs(frames, num_frames, mean, std, data)
        real = jnp.arange(frames.shape[1]) < num_frames[:, None]
        static = jnp.where(real[..., None], batch["frames"][..., 0], 0.0)
        distance = jnp.square(static).sum(axis=(1, 2)) / (num_frames * frames.shape[2])
        model = self.trained.merge(weights)
        return forward.posteriors(model, batch | inputs), distance


def _place(window: segment_reader.Window) -> online_segments.Cut:
    return online_segments.Cut(
        rows=None,
        first_frame=window.first_frame,
        num_samples=window.num_samples,
        log_peak=window.log_peak,
    )


def _mono(samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples)
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
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise InputError(f"Expected finite samples; got {bad} NaN or Inf.")
    return samples
