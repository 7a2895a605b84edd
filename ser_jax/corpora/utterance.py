"""One spoken turn, and one reason for leaving a turn out. Pure Python."""

import dataclasses
import math
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A spoken turn with its labels, as a corpus reader returns it.

    A turn is part of a dialog; `start_s`, `end_s`, `dialog`, `style`, `mocap_side`, the
    ratings and `rater_labels` are IEMOCAP's.
    """

    id: str  # unique in the corpus, e.g. `Ses01F_impro01_F000`
    wav: str  # absolute path; what `features.audio` reads, any rate, any channels
    speaker: str  # e.g. `1F` (IEMOCAP) or the manifest's column; empty if unknown
    session: str  # recording session, a TFDS split; `session1` ... in IEMOCAP
    emotion: str  # the corpus's own label, unmapped (`hap`, `exc`, `xxx`, ...)
    text: str = ""  # transcript
    start_s: float = 0.0  # of the turn in its dialog, seconds
    end_s: float = 0.0
    gender: str = ""  # `F`, `M` or empty
    language: str = ""  # language tag
    split: str = ""  # the corpus's own split name
    dialog: str = ""  # e.g. `Ses01F_impro01`
    style: str = ""  # `improvised`, `scripted` or empty
    mocap_side: str = ""  # `F` or `M`, who wears the motion-capture markers
    valence: float = math.nan  # mean rating in [1, 5]; NaN where there is none
    activation: float = math.nan
    dominance: float = math.nan
    rater_labels: tuple[str, ...] = ()  # `rater: label`, in file order
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)  # more columns


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """An utterance that is left out, counted by `reason` and listed in results.json."""

    id: str  # utterance id, or the path where there is no id
    reason: str  # short fixed phrase, e.g. `missing wav`, `too short`, `unmapped label`
    detail: str = ""  # expected and got, for this one utterance
