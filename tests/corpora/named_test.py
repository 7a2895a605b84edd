"""Public corpora by name: every layout they come in is read as the same recordings."""

import dataclasses
import logging
from collections.abc import Mapping

import pytest

from ser_jax.corpora import named
from ser_jax.corpora.descriptions import load
from ser_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Row:
    """What to write in which layout, and what the reader makes of it.

    A recording is `id: (label, speaker, gender, extra)`; `more` has other fields of it.
    """

    corpus: str
    published: tuple[int, int, int, int]  # recordings, listed women and men, speakers
    layouts: tuple[tuple[str, ...], ...]
    read: Mapping[str, tuple[str, str, str, Mapping[str, str]]]
    more: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def beside(folders, names):
    """Every name in every folder."""
    return tuple(f"{folder}{name}" for folder in folders for name in names)


ROWS = (
    Row(
        "emodb",
        (535, 5, 5, 10),
        (
            beside(["wav/"], ["08a04Ab.wav", "15b10Wa.wav"]),
            beside(["emodb/wav_corpus/", ""], ["08a04Ab.wav", "15b10Wa.wav"]),
        ),
        {
            "08a04Ab": ("fear", "08", "F", {"take": "b"}),
            "15b10Wa": ("anger", "15", "M", {"take": "a"}),
        },
        {"08a04Ab": {"text": "Heute abend könnte ich es ihm sagen."}},
        ignored=(
            *("lablaut/08a04Ab.lablaut", "laryngo/03a01Fa.wav", "erkennung.txt"),
            "wav_laryng/03a01Fa.wav",  # speech on one of its two channels
        ),
    ),
    Row(
        "emodb2",
        (0, 5, 5, 10),
        (
            ("wav/08a04Ab.wav", "wav/15b10Wa.wav"),
            ("08a04Ab.wav", "15b10Waxx.wav"),  # the root is the folder `wav`
        ),
        {
            "08a04Ab": ("fear", "08", "F", {"take": "b"}),
            "15b10Wa": ("anger", "15", "M", {"take": "a"}),
        },
        {"15b10Wa": {"language": "de"}},
        ignored=("laryngo/08a04Ab.wav", "laryngo/15b10Wa.wav"),
    ),
    Row(
        "ravdess",
        (1440, 12, 12, 24),
        tuple(
            beside(
                [f"{x}Actor_02/" for x in roots],
                ["03-01-01-01-02-01-02.wav", "03-01-06-02-01-02-02.wav"],
            )
            for roots in (
                ("",),
                ("audio/Audio_Speech_Actors_01-24/",),
                ("", "audio_speech_actors_01-24/"),  # Kaggle
            )
        ),
        {
            "03-01-01-01-02-01-02": (
                *("neutral", "02", "F"),
                {"intensity": "normal", "repetition": "01"},
            ),
            "03-01-06-02-01-02-02": (
                *("fearful", "02", "F"),
                {"intensity": "strong", "repetition": "02"},
            ),
        },
        {"03-01-01-01-02-01-02": {"text": "Dogs are sitting by the door."}},
        # Song, the sound of a video, and a copy into which TESS was merged.
        ignored=(
            *("Actor_02/03-02-01-01-02-01-02.wav", "02-01-06-02-01-02-02.wav"),
            "Actor_25/03-01-05-01-01-01-25.wav",
        ),
    ),
    Row(
        "crema_d",
        (7441, 43, 48, 91),
        (
            ("AudioWAV/1040_ITH_SAD_XX.wav", "AudioWAV/1091_IEO_HAP_HI.wav"),
            ("1040_ITH_SAD_X.wav", "AudioWAV/1091_IEO_HAP_HI.WAV"),
        ),
        {
            "1040_ITH_SAD_XX": ("sad", "1040", "M", {"intensity": "unspecified"}),
            "1091_IEO_HAP_HI": ("happy", "1091", "F", {"intensity": "high"}),
        },
        {"1091_IEO_HAP_HI": {"text": "It's eleven o'clock."}},
        ignored=("AudioMP3/1040_ITH_SAD_XX.mp3", "VideoDemographics.csv"),
        broken=("AudioWAV/1076_MTI_SAD_XX.wav",),
    ),
    Row(
        "savee",
        (480, 0, 4, 4),
        (
            ("AudioData/DC/a01.wav", "AudioData/JK/a01.wav", "AudioData/KL/su15.wav"),
            ("ALL/DC_a01.wav", "ALL/JK_a01.wav", "ALL/KL_su15.wav"),
            (
                "ALL/DC_a01.wav",
                *beside(["JK/", "AudioData/JK/"], ["a01.wav"]),
                "KL/su15.wav",
            ),
        ),
        {
            "DC_a01": ("anger", "DC", "M", {"sentence": "01"}),
            "JK_a01": ("anger", "JK", "M", {"sentence": "01"}),
            "KL_su15": ("surprise", "KL", "M", {"sentence": "15"}),
        },
        {"DC_a01": {"text": ""}},
        # Speakers merged into one folder: whose recording it is nobody knows.
        ignored=("AudioData/f10 (2).wav", "AudioData/f10.wav", "Info.txt"),
    ),
    Row(
        "tess",
        (2800, 2, 0, 2),
        (
            ("OAF_bite_neutral.wav", "OAF_back_ps.wav", "YAF_germ_angry.wav"),
            beside(
                # Kaggle's folder lies in itself, and its folders are unevenly named.
                ["TESS Toronto emotional speech set data/" * n for n in (1, 2)],
                [
                    "OAF_neutral/OA_bite_neutral.wav",
                    "OAF_Pleasant_surprise/OAF_back_ps.wav",
                    "YAF_angry/YAF_germ_angry.wav",
                ],
            ),
        ),
        {
            "OAF_bite_neutral": ("neutral", "OAF", "F", {"word": "bite"}),
            "OAF_back_ps": ("pleasant surprise", "OAF", "F", {"word": "back"}),
            "YAF_germ_angry": ("angry", "YAF", "F", {"word": "germ"}),
        },
    ),
    Row(
        "esd",
        (35_000, 10, 10, 20),
        (
            ("0004/Angry/0004_000351.wav", "0020/Surprise/0020_001401.wav"),
            beside(
                ["Emotional Speech Dataset (ESD)/Emotion Speech Dataset/"],
                ["0004/Angry/0004_000351.wav", "0020/Surprise/0020_001401.wav"],
            ),
            ("angry/0004_000351.wav", "0020/surprise/0020_001401.wav"),
        ),
        {
            "0004_000351": ("angry", "0004", "M", {"number": "000351"}),
            "0020_001401": ("surprise", "0020", "M", {"number": "001401"}),
        },
        {"0004_000351": {"language": "zh"}, "0020_001401": {"language": "en"}},
        ignored=("0004/0004.txt",),
    ),
    Row(
        "esd",
        (35_000, 10, 10, 20),
        (("0001/Sad/evaluation/0001_001051.wav", "0015/Happy/train/0015_000751.wav"),),
        {
            "0001_001051": ("sad", "0001", "F", {"number": "001051"}),
            "0015_000751": ("happy", "0015", "F", {"number": "000751"}),
        },
        {"0001_001051": {"split": "val"}, "0015_000751": {"split": "train"}},
    ),
    Row(
        "emovo",
        (588, 3, 3, 6),
        (("EMOVO/f1/dis-f1-b1.wav", "EMOVO/m3/gio-m3-d2.wav"),),
        {
            "dis-f1-b1": ("disgust", "f1", "F", {}),
            "gio-m3-d2": ("joy", "m3", "M", {}),
        },
        {"gio-m3-d2": {"text": "Porti con te quella cosa?", "language": "it"}},
        ignored=("EMOVO/documents/read me.pdf",),
    ),
    Row(
        "shemo",
        (3000, 0, 0, 87),
        (("male/M12A03.wav", "female/F07W170.wav"), ("M12A03.wav", "F07W170.wav")),
        {
            "M12A03": ("anger", "M12", "M", {"number": "03"}),
            "F07W170": ("surprise", "F07", "F", {"number": "170"}),
        },
        ignored=("transcript/M12A03.ort",),
    ),
    Row(
        "aesdd",
        (604, 0, 0, 6),
        (
            beside(["anger/"], ["a01 (1).wav", "a01 (5)b.wav", "a02 (1).wav"]),
            beside(["x/anger/"], ["a01 (01).wav", "a01 (5)b.wav", "a02 (01).wav"]),
        ),
        {
            "a01 (1)": ("anger", "1", "", {"sentence": "01", "take": ""}),
            "a01 (5)b": ("anger", "5", "", {"sentence": "01", "take": "b"}),
            "a02 (1)": ("anger", "1", "", {"sentence": "02", "take": ""}),
        },
        broken=("sadness/s05 (3).wav",),
    ),
    Row(
        "cafe",
        (936, 6, 6, 12),
        (
            ("CaFE_48k/Neutre/01-N-1-6.wav", "CaFE_48k/Colère/Fort/12-C-2-1.wav"),
            ("CaFE_48k/Neutre/01-N-1-6.wav", "CaFE_48k/ColŠre/Fort/12-C-2-1.wav"),
            ("CaFE_192k_1/Neutre/01-N-6.aiff", "CaFE_192k/Colère/Fort/12-C-2-1.aif"),
            ("192k/Fort/12-C-2-1.aiff", "48k/Fort/12-C-2-1.wav", "48k/01-N-1-6.wav"),
        ),
        {
            "01-N-1-6": ("neutral", "01", "M", {"intensity": "mild"}),
            "12-C-2-1": ("anger", "12", "F", {"intensity": "strong"}),
        },
        {"12-C-2-1": {"text": "Un cheval fou dans mon jardin."}},
    ),
    Row(
        "subesco",
        (7000, 0, 0, 20),
        (
            ("F_02_MONIKA_S_2_SURPRISE_3.wav", "M_02_X_S_10_ANGRY_5.wav"),
            ("SUBESCO/F_02_MONIKA_S_2_SURPRISE_3].wav", "M_02_X_S_10_ANGRY_5.wav"),
        ),
        {
            "F_02_MONIKA_S_2_SURPRISE_3": (
                *("surprise", "F_02", "F"),
                {"name": "MONIKA", "sentence": "2", "take": "3"},
            ),
            "M_02_X_S_10_ANGRY_5": (
                *("angry", "M_02", "M"),
                {"name": "X", "sentence": "10", "take": "5"},
            ),
        },
    ),
    Row(
        "urdu",
        (400, 0, 0, 29),
        (("Angry/SM1_F1_A001.wav", "URDU-Dataset-master/Sad/SF11_F9_S100.wav"),),
        {
            "SM1_F1_A001": ("angry", "SM1", "M", {"file": "1", "number": "001"}),
            "SF11_F9_S100": ("sad", "SF11", "F", {"file": "9", "number": "100"}),
        },
    ),
    Row(
        "jl_corpus",
        (2400, 2, 2, 4),
        (
            beside(
                ["Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/"],
                ["female1_angry_10a_1.wav", "male2_assertive_15b_2.wav"],
            ),
        ),
        {
            "female1_angry_10a_1": ("angry", "female1", "F", {"sentence": "10a"}),
            "male2_assertive_15b_2": ("assertive", "male2", "M", {"sentence": "15b"}),
        },
        {"male2_assertive_15b_2": {"session": "session2"}},
        ignored=("JL(wav+txt)/female1_angry_10a_1.txt",),
    ),
    Row(
        "emov_db",
        (6893, 2, 2, 4),
        (
            (
                *("bea/Amused/Amused_1-28_0007.wav", "bea/Amused/amused_1-15_0007.wav"),
                "sam/Sleepy/sleepiness_113_140_0114.wav",
            ),
            (
                *("bea_Amused/amused_1_28_0007.wav", "bea_Amused/Amused_1-15_0007.wav"),
                "sam_Sleepy/Sleepiness_113-140_0114.wav",
            ),
            (
                *("bea/amused_1-28_0007.wav", "bea/amused_1-15_0007.wav"),
                "sam/sleepiness_113-140_0114.wav",
            ),
        ),
        {
            f"{speaker}_{label}_{first}-{last}_{sentence}": (
                *(label, speaker, gender),
                {"first": first, "last": last, "sentence": sentence},
            )
            for speaker, gender, label, first, last, sentence in (
                ("bea", "F", "amused", "1", "28", "0007"),
                ("bea", "F", "amused", "1", "15", "0007"),
                ("sam", "M", "sleepiness", "113", "140", "0114"),
            )
        },
    ),
    Row(
        "turev_db",
        (1735, 0, 0, 6),
        (("Sound Source/Angry/1157_kz_acik.wav", "Sound Source/Calm/1358_sk_su.wav"),),
        {
            "1157_kz_acik": ("angry", "1157", "", {"word": "acik"}),
            "1358_sk_su": ("calm", "1358", "", {"word": "su"}),
        },
    ),
    Row(
        "nemo",
        (4481, 4, 5, 9),
        (
            ("samples/SM0_anger_1.wav", "samples/EB0_surprised_90.wav"),
            ("nEMO-main/samples/SM0_anger_1.wav", "EB0_surprised_90.wav"),
        ),
        {
            "SM0_anger_1": ("anger", "SM0", "M", {"sentence": "1"}),
            "EB0_surprised_90": ("surprised", "EB0", "F", {"sentence": "90"}),
        },
        {"SM0_anger_1": {"text": "", "language": "pl"}},
    ),
    Row(
        "oreau",
        (434, 0, 0, 32),
        tuple(
            (f"{root}f/sessj/10a02Ja.wav", f"{root}m/sessp/03c11Pb.wav")
            # é composed, decomposed; the root is the folder itself.
            for root in ("Or\xe9auFR_02/", "Ore\u0301auFR_02/", "")
        ),
        {
            "f10a02Ja": ("joy", "10", "F", {"sentence": "a02", "take": "a"}),
            "m03c11Pb": ("fear", "03", "M", {"sentence": "c11", "take": "b"}),
        },
    ),
    Row(
        "casia",
        (1200, 0, 0, 4),
        (
            ("wangzhe/angry/201.wav", "liuchanhg/angry/201.wav"),
            ("CASIA database/WangZhe/Angry/201.WAV", "Liuchanhg/ANGRY/201.wav"),
            (
                "CASIA/angry/201-angry-WangZhe.wav",
                "CASIA/angry/201-angry-liuchanhg.wav",
            ),
        ),
        {
            "wangzhe_angry_201": ("angry", "wangzhe", "", {"sentence": "201"}),
            "liuchanhg_angry_201": ("angry", "liuchanhg", "", {"sentence": "201"}),
        },
    ),
)
_LAYOUTS = [
    pytest.param(row, layout, id=f"{row.corpus}-{number}")
    for row in ROWS
    for number, layout in enumerate(row.layouts)
]


def write(root, names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return str(root)


@pytest.mark.parametrize(("row", "layout"), _LAYOUTS)
def test_every_layout_gives_the_same_recordings(row, layout, tmp_path):
    finder = [name.rpartition("/") for name in layout]  # what macOS leaves in archives
    finder = [f"{folder}/._{name}".lstrip("/") for folder, _, name in finder]
    finder += [
        f"{folder}/{name}" for folder in (".Trash", "__MACOSX") for name in layout
    ]
    root = write(tmp_path, [*layout, *finder, *row.ignored, *row.broken, ".DS_Store"])
    names = [f"x/{name[:-4]}{name[-4:].lower()}" for name in layout]
    matched = {
        x for x, about in load().items() if any(map(about.pattern.search, names))
    }
    same = {"emodb", "emodb2"}  # the second holds the first
    assert matched - same == {row.corpus} - same
    left_out = []
    got = {u.id: u for u in named.read(row.corpus, root, excluded=left_out)}
    assert {
        key: (u.emotion, u.speaker, u.gender, dict(u.extra)) for key, u in got.items()
    } == row.read
    for key, fields in row.more.items():
        assert {name: getattr(got[key], name) for name in fields} == fields
    assert {u.wav for u in got.values()} <= {f"{root}/{name}" for name in layout}
    reasons = [exclusion.reason for exclusion in left_out]
    assert reasons.count("second copy") == len(layout) - len(row.read)
    assert reasons.count("known as broken") == len(row.broken)
    assert len(reasons) == len(layout) - len(row.read) + len(row.broken)


@pytest.mark.parametrize("row", ROWS, ids=[row.corpus for row in ROWS])
def test_published_numbers(row):
    about = load()[row.corpus]
    listed = len(about.female), len(about.male)
    assert (about.utterances, *listed, about.speakers) == row.published
    assert not {*about.female} & {*about.male}


def test_every_corpus_has_a_row():
    """Those whose labels stand in a table are in `label_tables_test`."""
    named_by_files = {name for name, x in load().items() if x.label_table is None}
    assert {row.corpus for row in ROWS} == named_by_files


def test_git_lfs_pointers_and_dangling_links_stand_back(tmp_path):
    write(tmp_path, ["b/1002_DFA_ANG_XX.wav", "b/1001_DFA_ANG_XX.wav"])
    (tmp_path / "a").mkdir()
    pointer = tmp_path / "a/1001_DFA_ANG_XX.wav"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "a/1002_DFA_ANG_XX.wav").symlink_to("nowhere")
    left_out = []
    got = [u.wav for u in named.read("crema_d", str(tmp_path), excluded=left_out)]
    assert got == [f"{tmp_path}/b/100{n}_DFA_ANG_XX.wav" for n in (1, 2)]
    assert [x.reason for x in left_out] == ["Git LFS pointer", "missing wav"]
    with pytest.raises(InputError, match="'Git LFS pointer': 1.* run `git lfs pull`"):
        named.read("crema_d", str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("corpus", "root", "name"),
    [
        ("savee", "DC", "a01.wav"),
        ("emov_db", "sam", "Angry/anger_1-28_0001.wav"),
        ("oreau", "f", "sessj/10a02Ja.wav"),
        ("casia", "wangzhe", "angry/201.wav"),
    ],
)
def test_the_root_may_be_one_speakers_folder(corpus, root, name, tmp_path):
    write(tmp_path, [f"{root}/{name}"])
    (utterance,) = named.read(corpus, f"{tmp_path}/{root}/")
    assert utterance.speaker == {"f": "10"}.get(root, root)


def test_unknown_label_is_left_out_and_listed(tmp_path):
    root = write(tmp_path, ["male1_angry_1a_1.wav", "male1_bored_1a_1.wav"])
    left_out = []
    (utterance,) = named.read("jl_corpus", root, excluded=left_out)
    assert utterance.emotion == "angry"
    assert [(x.id, x.reason) for x in left_out] == [
        ("male1_bored_1a_1", "unknown label")
    ]


def test_linked_folder_is_read_once(tmp_path):
    write(tmp_path, ["Actor_01/03-01-01-01-01-01-01.wav"])
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    left_out = []
    assert len(list(named.read("ravdess", str(tmp_path), excluded=left_out))) == 1
    assert not left_out


def test_numbers_that_differ_and_warnings_are_logged(tmp_path, caplog):
    root = write(tmp_path, ["YAF_germ_angry.wav", "more.zip"])
    with caplog.at_level(logging.WARNING):
        list(named.read("tess", root))
    assert "TESS: sad: 400 published, 0 here" in caplog.messages
    assert "TESS: speakers: 2 published, 1 here" in caplog.messages
    assert f"TESS: perhaps still packed: {root}/more.zip" in caplog.messages
    assert any(x.startswith("TESS: two speakers") for x in caplog.messages)


def test_unknown_numbers_are_not_compared(tmp_path):
    root = write(tmp_path, ["wav/08a04Ab.wav"])
    utterances = list(named.read("emodb2", root))
    assert named.differences(load()["emodb2"], utterances) == [
        "speakers: 10 published, 1 here"
    ]


def test_packed_corpus_is_told_to_be_unpacked(tmp_path):
    write(tmp_path, ["Audio_Speech_Actors_01-24.zip"])
    with pytest.raises(InputError, match="unpack .*Actors_01-24.zip first"):
        named.read("ravdess", str(tmp_path))


def test_root_comes_from_the_environment(tmp_path, monkeypatch):
    write(tmp_path, ["YAF_germ_angry.wav"])
    monkeypatch.setenv("TESS_ROOT", str(tmp_path))
    assert [u.id for u in named.read("tess", "")] == ["YAF_germ_angry"]
    monkeypatch.delenv("TESS_ROOT")
    with pytest.raises(InputError, match="--root and TESS_ROOT are empty"):
        named.find_root("tess", "", "--root")
