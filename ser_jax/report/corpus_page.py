"""What is said of a corpus before training, as a document."""

import collections
from collections.abc import Sequence

import numpy as np

from ser_jax.report import corpus_figures, figures
from ser_jax.report.document import (
    Cell,
    Document,
    Figure,
    Section,
    Table,
    code,
    plain,
    plural,
    span,
)
from ser_jax.survey.survey import Survey

SPEAKERS_PNG = "figures/speakers.png"
DURATIONS_PNG = "figures/durations.png"
LEVELS_PNG = "figures/levels.png"
MOST_SPEAKERS = 100  # rows of a table
LISTED = 200  # lines below a reason
_GENDERS = {"F": "female", "M": "male", "": "gender not known"}
_SILENCE = 1e-5  # -100 dB of full scale


def document(survey: Survey) -> Document:
    """The page; all of its numbers are of the recordings that training can use."""
    source = survey.source
    about = [f"Read: {code(source.place)}."]
    about += [plain(source.terms)] if source.terms else []
    sections = [
        Section("classes", "Classes", [*about, *_classes(survey)]),
        Section("speakers", "Speakers", _speakers(survey)),
        Section("durations", "Durations and formats", _durations(survey)),
        Section("levels", "Levels", _levels(survey)),
        Section("left-out", "Left out", _left_out(survey)),
        Section("doubts", "Worth a look", _doubts(survey)),
    ]
    return Document(
        title=f"{source.title}: a look before training",
        banners=[plain(source.warning)] if source.warning else [],
        headline=_headline(survey),
        tiles=_tiles(survey),
        sections=sections,
    )


def speaker_counts(survey: Survey) -> tuple[np.ndarray, list[str]]:
    """Numbers [speakers, classes] and names of the speakers with the most recordings.

    At most `MOST_SPEAKERS`, in the survey's order.
    """
    counts, classes = survey.counts(), survey.classes()
    often = sorted(counts, key=lambda key: -counts[key].total())[:MOST_SPEAKERS]
    kept = [key for key in counts if key in {*often}]
    numbers = [[counts[key][name] for name in classes] for key in kept]
    return np.array(numbers, np.int64), [speaker for speaker, _ in kept]


def peaks_db(survey: Survey) -> list[float]:
    """Peak levels in dB of full scale, sorted."""
    peaks = [recording.peak for recording in survey.recordings.values()]
    return sorted((20 * np.log10(np.maximum(peaks, _SILENCE))).tolist())


def _headline(survey: Survey) -> str:
    hours = sum(survey.seconds()) / 3600
    speakers = len(survey.speakers())
    known = _published_speakers(survey)
    known = f" ({known})" if known else ""
    classes = len({u.emotion for u in survey.utterances})
    return (
        f"**{plural(len(survey.utterances), 'recording')}**, {hours:.2f} h, "
        f"{plural(speakers, 'speaker')}{known}, {classes} class{'es' * (classes != 1)}; "
        f"{len(survey.excluded)} left out."
    )


def _tiles(survey: Survey) -> list[tuple[str, str, str]]:
    seconds = survey.seconds()
    number = len(survey.utterances)
    least = min(collections.Counter(u.emotion for u in survey.utterances).values())
    return [
        ("Recordings", str(number), f"{len(survey.excluded)} left out"),
        ("Hours", f"{sum(seconds) / 3600:.2f}", f"median {np.median(seconds):.2f} s"),
        ("Speakers", str(len(survey.speakers())), _about_speakers(survey)),
        ("Smallest class", str(least), f"{least / number:.1%} of the recordings"),
    ]


def _about_speakers(survey: Survey) -> str:
    numbers = survey.speakers().values()
    if not numbers:
        return "of no recording known"
    each = f"{span(numbers)} recordings each"
    return "; ".join(filter(None, (_published_speakers(survey), each)))


def _published_speakers(survey: Survey) -> str:
    """Their number, if it is another one than here."""
    published = survey.source.published_speakers
    return f"{published} published" * (published not in (0, len(survey.speakers())))


def _classes(survey: Survey) -> list:
    counts = survey.counts()
    published = survey.source.published
    genders = [g for g in _GENDERS if any(g == gender for _, gender in counts)]
    header = ["class", "recordings", "share %", *(_GENDERS[g] for g in genders)]
    rows = [header + ["published", "difference"] * bool(published)]
    total = len(survey.utterances)
    for name in survey.classes():
        by_gender = [
            sum(c[name] for (_, gender), c in counts.items() if gender == g)
            for g in genders
        ]
        here = sum(by_gender)
        row = [name, here, f"{100 * here / total:.1f}", *by_gender]
        if published:
            number = published.get(name)
            # Readers count what they hand out; so the unusable are a difference, too.
            differs = (
                "–" if number is None else f"{here - number:+d}".replace("+0", "0")
            )
            row += ["–" if number is None else number, differs]
        rows.append(row)
    return [Table(rows, "Recordings by class and gender")]


def _speakers(survey: Survey) -> list:
    counts, classes = survey.counts(), survey.classes()
    numbers, kept = speaker_counts(survey)
    most = max(numbers.max(initial=0), 1)
    rows = [("speaker", "gender", *classes, "all")]
    shown = [key for key in counts if key[0] in {*kept}]
    for speaker, gender in shown:
        row = [counts[speaker, gender][name] for name in classes]
        cells = [Cell(str(n), n / most) for n in row]
        rows.append((speaker or "unknown", gender or "–", *cells, sum(row)))
    caption = "Recordings by speaker and class"
    if len(kept) < len(counts):
        caption += f"; the {len(kept)} speakers with the most of {len(counts)}"
    # HTML colours the table's cells, so that only Markdown needs the picture.
    return [Figure(caption, png=SPEAKERS_PNG), Table(rows, caption, words=2)]


def _durations(survey: Survey) -> list:
    seconds = survey.seconds()
    by_class = collections.defaultdict(list)
    formats = collections.defaultdict(list)
    for u in survey.utterances:
        recording = survey.recordings[u.id]
        by_class[u.emotion].append(recording.seconds)
        formats[recording.rate_hz, recording.channels].append(recording.seconds)
    rows = [("class", "recordings", "shortest, s", "median, s", "longest, s", "hours")]
    names = [name for name in survey.classes() if name in by_class]
    rows += [(name, *_spread(by_class[name])) for name in names]
    rows.append(("all", *_spread(seconds)))
    kinds = [("sample rate, Hz", "channels", "recordings", "hours")]
    kinds += [
        (rate_hz, channels, len(lengths), f"{sum(lengths) / 3600:.2f}")
        for (rate_hz, channels), lengths in sorted(formats.items())
    ]

    def draw() -> list[str]:
        return [
            figures.svg(corpus_figures.durations(seconds), "Histogram of durations")
        ]

    return [
        Figure("How long recordings are", draw, DURATIONS_PNG),
        Table(rows, "Durations by class"),
        Table(kinds, "Sample rates and channels of the files"),
    ]


def _spread(seconds: Sequence[float]) -> tuple:
    ends = min(seconds), np.median(seconds), max(seconds)
    numbers = [f"{value:.2f}" for value in ends]
    return (len(seconds), *numbers, f"{sum(seconds) / 3600:.2f}")


def _levels(survey: Survey) -> list:
    peaks = peaks_db(survey)
    rows = [("dB of full scale", "lowest", "median", "highest")]
    # + 0.0: a hair below full scale is 0.0 dB, not -0.0.
    ends = [round(x, 1) + 0.0 for x in (peaks[0], float(np.median(peaks)), peaks[-1])]
    rows.append(("peak", *ends))
    kinds = collections.defaultdict(list)
    for name, recording in survey.recordings.items():
        for warning in recording.warnings:
            kind, _, measured = warning.partition(": ")
            kinds[kind].append(f"{code(name)}: {measured}")

    def draw() -> list[str]:
        return [figures.svg(corpus_figures.levels(peaks), "Histogram of peak levels")]

    return [
        Figure("How loud recordings are", draw, LEVELS_PNG),
        Table(rows, "Peak levels, of the mean of the channels"),
        _listed(kinds) or "No recording is nearly silent, quiet, short or clipped.",
    ]


def _left_out(survey: Survey) -> list:
    reasons = collections.defaultdict(list)
    for item in survey.excluded:
        detail = f": {plain(item.detail)}" if item.detail else ""
        reasons[item.reason].append(f"{code(item.id)}{detail}")
    return [_listed(reasons) or "Nothing."]


def _doubts(survey: Survey) -> list:
    by_id = {u.id: u for u in survey.utterances}
    headers = [
        f"{code(name)}: {plain(recording.header)}"
        for name, recording in survey.recordings.items()
        if recording.header
    ]
    found = {
        "Equal sounds": [_copies(ids, by_id) for ids in survey.equal],
        "Near-duplicates, probably one take": [
            _copies(ids, by_id) for ids in survey.near_duplicates
        ],
        "Spellings that look alike": [plain(str(x)) for x in survey.spellings],
        "Unusual headers": headers,
    }
    return [_listed(found) or "No equal sounds, no look-alike labels or speakers."]


def _copies(ids, by_id) -> str:
    """Names, and what they disagree about, which is what matters."""
    text = ", ".join(map(code, ids))
    for field, noun in (("emotion", "labels"), ("speaker", "speakers")):
        values = [getattr(by_id[name], field) or "unknown" for name in ids]
        values = list(dict.fromkeys(values))
        if len(values) > 1:
            text += f"; **different {noun}** {', '.join(map(plain, values))}"
    return text


def _listed(groups) -> list:
    """(Name and number, the first of its lines) of those that have any."""
    return [
        (
            f"{plain(name)}: {len(lines)}",
            lines[:LISTED]
            + [f"... and {len(lines) - LISTED} more"] * (len(lines) > LISTED),
        )
        for name, lines in groups.items()
        if lines
    ]
