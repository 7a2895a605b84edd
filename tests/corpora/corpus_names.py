"""Names of public corpora's files, made from their rules; irregular ones by example."""

import itertools

# Published recordings, without those that are known as broken; 0: numbers per class are
# not known.
TOTALS = {
    "aesdd": 604,
    "cafe": 936,
    "casia": 1200,
    "crema_d": 7441,
    "emodb": 535,
    "emodb2": 0,
    "emov_db": 6893,
    "emovo": 588,
    "emozionalmente": 6902,
    "esd": 35_000,
    "jl_corpus": 2400,
    "meld": 13_706,
    "msp_improv": 8438,
    "msp_podcast": 0,
    "nemo": 4481,
    "oreau": 434,
    "ravdess": 1440,
    "savee": 480,
    "shemo": 3000,
    "subesco": 7000,
    "tess": 2800,
    "turev_db": 1735,
    "urdu": 400,
}
# Women and men that the description lists; none where the name tells the gender, or
# nobody does.
SPEAKERS = dict.fromkeys(TOTALS, (0, 0)) | {
    "cafe": (6, 6),
    "crema_d": (43, 48),
    "emodb": (5, 5),
    "emodb2": (5, 5),
    "emov_db": (2, 2),
    "emovo": (3, 3),
    "esd": (10, 10),
    "jl_corpus": (2, 2),
    "msp_improv": (6, 6),
    "nemo": (4, 5),
    "ravdess": (12, 12),
    "savee": (0, 4),
    "tess": (2, 0),
}
# Corpora whose rules give every name.
COUNTED = ("ravdess", "crema_d", "savee", "tess", "esd", "emovo", "cafe", "subesco")
COUNTED += ("jl_corpus", "casia")


def all_names(corpus: str) -> list[str]:
    """Paths below the root; for a corpus that is not in COUNTED a sample of the rule."""
    return _NAMES[corpus]()


def _product(template, *parts):
    """The template filled in every way; a part is a sequence, or words in a string."""
    parts = [part.split() if isinstance(part, str) else part for part in parts]
    return [template.format(*values) for values in itertools.product(*parts)]


def _emodb():
    return _product(
        "wav/{}{}{}{}.wav",
        "03 08 09 10 11 12 13 14 15 16",
        "a01 a02 a04 a05 a07 b01 b02 b03 b09 b10",
        "W L E A F T N",
        "a b c d e f",
    )


def _ravdess():
    names = _product(
        "03-01-{:02}-{:02}-{:02}-{:02}-{:02}.wav",
        *(range(1, 9), (1, 2), (1, 2), (1, 2), range(1, 25)),
    )
    # Neutral is normal only.
    return [f"Actor_{x[-6:-4]}/{x}" for x in names if not x.startswith("03-01-01-02")]


def _crema_d():
    emotions = "ANG DIS FEA HAP NEU SAD"
    sentences = "TIE IOM IWW TAI MTI IWL ITH DFA ITS TSI WSI"
    actors = range(1001, 1092)
    names = _product("{}_{}_{}_XX.wav", actors, sentences, emotions)
    names += _product("{}_IEO_{}_{}.wav", actors, "ANG DIS FEA HAP SAD", "LO MD HI")
    names += _product("{}_IEO_NEU_XX.wav", actors)
    lacking = ("1002_TIE_NEU", "1076_ITS_NEU", "1008_WSI", "1009_MTI", "1019_ITH")
    return [f"AudioWAV/{name}" for name in names if not name.startswith(lacking)]


def _savee():
    codes = _product("{}{:02}", "a d f h sa su n", range(1, 16))
    codes += _product("n{:02}", range(16, 31))
    return _product("AudioData/{}/{}.wav", "DC JE JK KL", codes)


def _tess():
    letters = "abcdefghijklmnopqrst"
    words = ["".join(pair) for pair in itertools.product(letters, letters[:10])]
    labels = "angry disgust fear happy neutral ps sad"
    return _product("{}_{}_{}.wav", "OAF YAF", words, labels)


def _esd():
    labels = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
    return [
        f"{speaker:04}/{labels[(n - 1) // 350]}/{speaker:04}_{n:06}.wav"
        for speaker in range(1, 21)
        for n in range(1, 1751)
    ]


def _emovo():
    texts = "b1 b2 b3 l1 l2 l3 l4 n1 n2 n3 n4 n5 d1 d2"
    labels = "neu dis gio pau rab sor tri"
    return _product("{}-{}-{}.wav", labels, "f1 f2 f3 m1 m2 m3", texts)


def _cafe():
    names = _product(
        "{:02}-{}-{}-{}.wav", range(1, 13), "C D J N P S T", (1, 2), range(1, 7)
    )
    return [x for x in names if "-N-2-" not in x]  # one level of neutral


def _subesco():
    labels = "ANGRY DISGUST FEAR HAPPY NEUTRAL SAD SURPRISE"
    return _product(
        "{}_{:02}_NAME_S_{}_{}_{}.wav",
        *("F M", range(1, 11), range(1, 11), labels, range(1, 6)),
    )


def _jl_corpus():
    labels = "angry sad neutral happy excited anxious apologetic assertive concerned"
    return _product(
        "{}_{}_{}{}_{}.wav",
        ("female1", "female2", "male1", "male2"),
        [*labels.split(), "encouraging"],
        *(range(1, 16), "a b", (1, 2)),
    )


def _casia():
    speakers = "liuchanhg wangzhe zhaoquanyin zhaozuoxiang"
    labels = "angry fear happy neutral sad surprise"
    return _product("{}/{}/{}.wav", speakers, labels, range(201, 251))


def _shemo():
    return _product(
        "{}{:02}{}{:02}.wav", "F M", range(1, 100, 7), "A F H N S W", (1, 9)
    )


def _aesdd():
    return _product("{}{:02} ({}).wav", "a d f h s", range(1, 21), range(1, 7))


def _urdu():
    return _product(
        "S{}{}_F{}_{}{:03}.wav", "M F", (1, 12), (1, 30), "A H N S", (1, 99)
    )


def _emov_db():
    labels = "Amused Anger disgust Neutral sleepiness"
    ranges = "1-28 113_140"
    speakers = "bea jenie josh sam"
    return _product("{}/Folder/{}_{}_{:04}.wav", speakers, labels, ranges, (1, 140))


def _turev_db():
    speakers = "1157 1234 1358 1984 6783 7895"
    return _product("{}_{}_{}.wav", speakers, "kz hl sk mt", "acik su")


def _oreau():
    names = _product(
        "{:02}{}{:02}{}a.wav", range(1, 43), "a b", (1, 12), "C D J N P S T"
    )
    return [f"m/sess{x[5].lower()}/{x}" for x in names]


def _meld():
    folders = ("train_splits", "dev_splits_complete", "output_repeated_splits_test")
    return _product("{}/dia{}_utt{}.{}", folders, (0, 1038), (0, 23), "mp4 wav")


def _msp_improv():
    return [
        f"session{s}/S{n:02}{t}/{k}/MSP-IMPROV-S{n:02}{t}-{a}{s:02}-{k}-{p}{turn:02}.wav"
        for s, n, t, k in itertools.product((1, 6), (1, 20), "AHNS", "PRST")
        for a, p, turn in (("F", "FM", 1), ("M", "FM", 12), ("M", "MF", 2))
    ]


def _msp_podcast():
    names = _product("Audios/MSP-PODCAST_{:04}_{:04}.wav", (1, 5000), (1, 9999))
    return [*names, "Audios/MSP-PODCAST_test3_0007.wav", _PODCAST_LONG]


def _nemo():
    labels = "anger fear happiness sadness surprised neutral"
    return _product("samples/{}_{}_{}.wav", "EB0 MP0 WR0", labels, (1, 90))


def _emozionalmente():
    return _product("audio/{}.wav", (1596188473217, 1612345678901))


_PODCAST_LONG = "Audios/MSP-PODCAST_0002_0033_0001.wav"
_NAMES = {name: globals()[f"_{name}"] for name in TOTALS if name != "emodb2"}
_NAMES["emodb2"] = _emodb
