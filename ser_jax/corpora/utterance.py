"""One spoken turn, and one reason for leaving a turn out. Pure Python."""

import dataclasses
import math
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A spoken turn with its labels, as a corpus reader found it.

    Attributes:
      id: Unique in the corpus, e.g. `Ses01F_impro01_F000`.
      wav: Absolute path of the recording (WAV or FLAC, any rate, any channels).
      speaker: Who speaks, e.g. `1F` (IEMOCAP) or the manifest's column.
      session: Recording session; TFDS splits are sessions. `session1` ... in IEMOCAP.
      emotion: The corpus's own label, unmapped (`hap`, `exc`, `xxx`, ...).
      text: Transcript, empty if there is none.
      start_s: Start of the turn in its dialog, seconds.
      end_s: End of the turn in its dialog, seconds.
      gender: `F`, `M` or empty.
      language: Language tag or empty.
      split: The corpus's own split name or empty.
      dialog: Dialog the turn belongs to, e.g. `Ses01F_impro01`.
      style: `improvised`, `scripted` or empty.
      mocap_side: `F` or `M`, the actor who wears the motion-capture markers.
      valence: Mean rating in [1, 5]; NaN where there is none.
      activation: Mean rating in [1, 5]; NaN where there is none.
      dominance: Mean rating in [1, 5]; NaN where there is none.
      rater_labels: One `rater: label` entry per rater line, in file order.
      extra: Further manifest columns by name.
    """

    id: str
    wav: str
    speaker: str
    session: str
    emotion: str
    text: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    gender: str = ""
    language: str = ""
    split: str = ""
    dialog: str = ""
    style: str = ""
    mocap_side: str = ""
    valence: float = math.nan
    activation: float = math.nan
    dominance: float = math.nan
    rater_labels: tuple[str, ...] = ()
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """An utterance that is left out, counted by `reason` and listed in results.json.

    Attributes:
      id: Utterance id, or the path where there is no id.
      reason: Short fixed phrase, e.g. `missing wav`, `too short`, `unmapped label`.
      detail: Expected and got, for this one utterance.
    """

    id: str
    reason: str
    detail: str = ""
