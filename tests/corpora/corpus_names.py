"""Names of public corpora's files, made from their rules where these give every name."""

import itertools


def _product(template, *parts):
    """The template filled in every way; a part is a sequence, or words in a string."""
    parts = [part.split() if isinstance(part, str) else part for part in parts]
    return [template.format(*values) for values in itertools.product(*parts)]


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


RULES = {  # corpus -> all paths below its root
    "cafe": _cafe,
    "casia": _casia,
    "crema_d": _crema_d,
    "emovo": _emovo,
    "esd": _esd,
    "jl_corpus": _jl_corpus,
    "ravdess": _ravdess,
    "savee": _savee,
    "subesco": _subesco,
    "tess": _tess,
}
