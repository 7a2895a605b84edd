"""5531 turns in IEMOCAP's layout, built and read back: the published counts, all of them.

The counts below are totals of EmoBox's list of turns (Ma et al., Interspeech 2024); the
tree is written from the counts per speaker in the same list.
"""

import collections

import numpy as np
import pytest

from configs import area_attn
from ser_jax.data import protocols, text_repeats
from ser_jax.data.classes import assign_classes
from ser_jax.datasets import build, store
from tests.corpora import iemocap_tree

pytestmark = pytest.mark.slow  # ten seconds to write and build the tree
SESSION_TOTALS = {  # subset, happy policy -> turns of sessions 1 ... 5
    ("improvised", "hap"): (422, 393, 538, 370, 557),
    ("improvised", "hap+exc"): (521, 530, 627, 534, 731),
    ("scripted", "hap"): (520, 420, 462, 423, 385),
    ("scripted", "hap+exc"): (564, 493, 524, 497, 510),
    ("all", "hap"): (942, 813, 1000, 793, 942),
    ("all", "hap+exc"): (1085, 1023, 1151, 1031, 1241),
}
SPEAKER_TOTALS = {  # improvised, hap+exc and both styles, hap+exc
    "1F": (271, 528),
    "1M": (250, 557),
    "2F": (273, 481),
    "2M": (257, 542),
    "3F": (305, 522),
    "3M": (322, 629),
    "4F": (268, 528),
    "4M": (266, 503),
    "5F": (366, 590),
    "5M": (365, 651),
}
CLASS_TOTALS = {  # neutral, happy, sad, angry
    ("improvised", "hap"): (1099, 284, 608, 289),
    ("improvised", "exc"): (1099, 663, 608, 289),
    ("improvised", "hap+exc"): (1099, 947, 608, 289),
    ("scripted", "hap"): (609, 311, 476, 814),
    ("scripted", "hap+exc"): (609, 689, 476, 814),
    ("all", "hap"): (1708, 595, 1084, 1103),
    ("all", "hap+exc"): (1708, 1636, 1084, 1103),
}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The built tree, and a config that reads it."""
    folder = tmp_path_factory.mktemp("iemocap")
    config = area_attn.get_config()
    config.data.root = str(iemocap_tree.write_tree(folder / "release"))
    config.data.tfds_dir = str(folder / "tfds")
    config.data.recipe = "logmel40_3d"
    config.data.vtlp_copies = 0
    config.data.file_format = "array_record"
    return store.load(build.ensure_built(config.data), channels=1), config


def _choose(release, subset, happy):
    corpus, config = release
    config.protocol.subset, config.protocol.happy = subset, happy
    chosen = assign_classes(corpus.utterances, config.data, config.protocol)
    return corpus.utterances, chosen, config.protocol


def test_all_turns_are_built_and_nothing_is_left_out(release):
    corpus, _ = release
    assert len(corpus.utterances) == 5531 and not corpus.excluded
    assert {len(x) for x in corpus.frames} == {corpus.spec.num_frames(3200)}


@pytest.mark.parametrize(("subset", "happy"), CLASS_TOTALS)
def test_classes(release, subset, happy):
    _, (classes, labels, excluded), _ = _choose(release, subset, happy)
    assert classes == ("neutral", "happy", "sad", "angry")
    counts = np.bincount(labels[labels >= 0])
    assert tuple(counts) == CLASS_TOTALS[subset, happy]
    assert counts.sum() + len(excluded) == 5531


@pytest.mark.parametrize(("subset", "happy"), SESSION_TOTALS)
def test_session_folds(release, subset, happy):
    utterances, (_, labels, _), protocol = _choose(release, subset, happy)
    protocol.split = "session5"
    folds = protocols.make_folds(utterances, labels, protocol)
    assert tuple(len(fold.test) for fold in folds) == SESSION_TOTALS[subset, happy]


@pytest.mark.parametrize("subset", ["improvised", "all"])
def test_speaker_folds(release, subset):
    utterances, (_, labels, _), protocol = _choose(release, subset, "hap+exc")
    protocol.split = "speaker10"
    folds = protocols.make_folds(utterances, labels, protocol)
    column = ("improvised", "all").index(subset)
    expected = {name: totals[column] for name, totals in SPEAKER_TOTALS.items()}
    assert {fold.name: len(fold.test) for fold in folds} == expected


def test_script_folds(release):
    utterances, (_, labels, _), protocol = _choose(release, "all", "hap+exc")
    protocol.split = "session5_script"
    folds = protocols.make_folds(utterances, labels, protocol)
    # The tree has two of the release's three scripts.
    groups = ("improvised", "script01", "script02")
    names = [f"session{n}_{group}" for n in range(1, 6) for group in groups]
    assert [fold.name for fold in folds] == names
    tested = sorted(i for fold in folds for i in fold.test)
    assert tested == list(range(5531))
    sizes = [len(fold.test) for fold in folds]
    assert tuple(sizes[::3]) == SESSION_TOTALS["improvised", "hap+exc"]
    scripted = tuple(a + b for a, b in zip(sizes[1::3], sizes[2::3], strict=True))
    assert scripted == SESSION_TOTALS["scripted", "hap+exc"]
    assert not text_repeats.scripts_shared(folds, utterances)
    for fold in folds:
        used, test = (
            {(utterances[i].speaker, utterances[i].session) for i in part}
            for part in (fold.train + fold.val, fold.test)
        )
        assert len(test) == 2 and not used & test


def test_speakers_are_those_of_the_turns_not_of_the_dialogs(release):
    corpus, _ = release
    spoken = collections.Counter(u.speaker for u in corpus.utterances)
    assert spoken == {name: totals[1] for name, totals in SPEAKER_TOTALS.items()}
    sides = {u.mocap_side for u in corpus.utterances if u.speaker == "3F"}
    assert sides == {"F", "M"}
