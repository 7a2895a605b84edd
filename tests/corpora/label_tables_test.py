"""Public corpora whose labels stand in a table: tiny trees with their known traps."""

import logging

import pytest

from ser_jax.corpora import named
from ser_jax.corpora.descriptions import load
from ser_jax.errors import InputError


def write(root, files):
    """Files by path: their text, or None for a recording, of which only the name counts."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text or "", encoding="utf-8")
    return str(root)


def read(corpus, root):
    """(Recordings by id, {id left out: reason})."""
    left_out = []
    got = {u.id: u for u in named.read(corpus, root, excluded=left_out)}
    return got, {x.id: x.reason for x in left_out}


MELD_COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,"
    "Episode,StartTime,EndTime\n"
)


def meld_row(text, speaker, emotion, dialogue, utterance):
    times = '"00:16:16,059","00:16:21,731"'
    cells = (
        f'7,"{text}",{speaker},{emotion},neutral,{dialogue},{utterance},8,21,{times}'
    )
    return f"{cells}\n"


MELD_TABLES = {
    "train_sent_emo.csv": MELD_COLUMNS
    + meld_row("Also I was, “the point” person", "Chandler", "neutral", 0, 0)
    + meld_row("No-no-no, see", "Ross", "neutral", 125, 3),
    "dev_sent_emo.csv": MELD_COLUMNS
    + meld_row('Oh, ""you"" guys', "Phoebe", "sadness", 0, 0)
    + meld_row("Did they tell you anything?", "Phoebe", "neutral", 110, 7)
    + meld_row("Hi!", "All", "joy", 3, 1),
    "test_sent_emo.csv": MELD_COLUMNS
    + meld_row("Why do all you're coffee mugs", "Mark", "surprise", 0, 0)
    + meld_row("Oh.", "Rachel", "anger", 125, 3),
}
MELD_CLIPS = {
    "train": ("dia0_utt0", "dia125_utt3"),
    "dev": ("dia0_utt0", "dia49_utt4"),  # the second has no row
    "test": ("dia0_utt0", "dia125_utt3"),
}
MELD_FOLDERS = (
    ("train_splits", "dev_splits_complete", "output_repeated_splits_test"),
    (
        "MELD.Raw/train/train_splits",
        "MELD.Raw/dev/dev_splits_complete",
        "MELD.Raw/test/output_repeated_splits_test",
    ),
    ("wav/train", "wav/dev", "wav/test"),
    ("train/wav", "audio_dev", "my test/test/wavs/16k"),
)


@pytest.mark.parametrize("folders", MELD_FOLDERS)
@pytest.mark.parametrize("suffix", ["mp4", "wav"])
def test_meld_tells_its_parts_apart(folders, suffix, tmp_path):
    files = {
        f"{folder}/{clip}.{suffix}": None
        for folder, clips in zip(folders, MELD_CLIPS.values(), strict=True)
        for clip in clips
    }
    files |= {f"{folders[2]}/final_videos_testdia0_utt0.{suffix}": None}
    files |= {f"{folders[2]}/._dia0_utt0.{suffix}": None}
    got, left_out = read("meld", write(tmp_path, files | MELD_TABLES))
    assert {key: (u.emotion, u.speaker, u.split) for key, u in got.items()} == {
        "train_dia0_utt0": ("neutral", "Chandler", "train"),
        "dev_dia0_utt0": ("sadness", "Phoebe", "val"),
        "test_dia0_utt0": ("surprise", "Mark", "test"),
        # Broken in `train` only: a name alone would strike this one as well.
        "test_dia125_utt3": ("anger", "Rachel", "test"),
    }
    assert left_out == {
        "train_dia125_utt3": "known as broken",
        "dev_dia110_utt7": "known as broken",
        "dev_dia49_utt4": "no label",
        "dev_dia3_utt1": "missing wav",
    }
    dev = got["dev_dia0_utt0"]
    assert (dev.text, dev.dialog) == ('Oh, "you" guys', "dev_dia0")
    assert got["train_dia0_utt0"].text == "Also I was, “the point” person"
    assert (dev.extra["season"], dev.extra["utterance"]) == ("8", "0")


def test_meld_takes_the_wav_beside_the_video(tmp_path):
    names = ("train_splits/dia0_utt0.mp4", "train_splits/dia0_utt0.wav")
    root = write(tmp_path, dict.fromkeys(names) | MELD_TABLES)
    got, left_out = read("meld", root)
    assert got["train_dia0_utt0"].wav.endswith(".wav")
    assert left_out["train_dia0_utt0"] == "second copy"


IMPROV = """UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:2.5; V:3.0; D:3.0 ; N:4.0;
A1B2; Angry; Frustrated, "Ängry"; A:2.000000; V:3.0; D:3.0; N:4.0;
A1B2; Angry; ; A:2.000000; V:3.0; D:3.0; N:4.0;

UTD-IMPROV-S20S-M06-S-MF12.avi; X; A:NaN; V:2.0; D:NaN ; N:NaN;
UTD-IMPROV-S03H-M06-R-MF01.avi; O; A:1.0; V:2.0; D:3.5 ; N:4.0;
UTD-IMPROV-S03H-F06-T-MF02.avi; N; A:1.0; V:2.0; D:3.5 ; N:4.0;
"""
IMPROV_NAMES = (
    "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01",
    "session6/S20S/S/MSP-IMPROV-S20S-M06-S-MF12",
    "session6/S03H/R/MSP-IMPROV-S03H-M06-R-MF01",
    "session6/S03H/R/MSP-IMPROV-S03H-M06-R-MF09",  # not rated
)


@pytest.mark.parametrize(
    ("audio", "labels"), [("", "Evalution.txt"), ("Audio/", "x/Evaluation.txt")]
)
def test_msp_improv_keeps_the_raters_label_not_the_scenarios(audio, labels, tmp_path):
    files = {f"{audio}{name}.wav": None for name in IMPROV_NAMES}
    files |= {f"{audio}{name}.avi": None for name in IMPROV_NAMES} | {labels: IMPROV}
    got, left_out = read("msp_improv", write(tmp_path, files))
    first, read_, last = "S01A-F01-P-FM01", "S03H-M06-R-MF01", "S20S-M06-S-MF12"
    assert {key: (u.emotion, u.speaker, u.gender) for key, u in got.items()} == {
        f"MSP-IMPROV-{first}": ("angry", "F01", "F"),
        f"MSP-IMPROV-{read_}": ("other", "M06", "M"),
        f"MSP-IMPROV-{last}": ("no agreement", "M06", "M"),
    }
    assert left_out == {
        "MSP-IMPROV-S03H-M06-R-MF09": "no label",
        "MSP-IMPROV-S03H-F06-T-MF02": "missing wav",
    }
    assert [u.session for u in got.values()] == ["session1", "session6", "session6"]
    assert dict(got[f"MSP-IMPROV-{read_}"].extra) == {
        "sentence": "03",
        "target": "happy",
        "kind": "read",
        "pair": "MF",
        "turn": "01",
        "rated_activation": "1.0",
        "rated_valence": "2.0",
        "rated_dominance": "3.5",
        "rated_naturalness": "4.0",
    }


PODCAST_COLUMNS = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
PODCAST = {
    "0001_0008": ("N", "127", "Male", "Train", "neutral", "M", "train"),
    "0002_0033_0001": ("X", "Unknown", "Unknown", "Train", "no agreement", "", "train"),
    "0003_0001": ("O", "5", "Female", "DEV", "other", "F", "val"),
    "0004_0001": ("C", "6", "Female", "Test1", "contempt", "F", "test"),
    "0005_0001": ("U", "7", "Male", "Test2", "surprise", "M", "test2"),
}


@pytest.mark.parametrize(
    ("labels", "dev"),
    [
        ("Labels/labels_concensus.csv", "Validation"),
        ("Labels/labels_consensus.csv", "Development"),
    ],
)
def test_msp_podcast_in_both_spellings(labels, dev, tmp_path):
    rows, files = PODCAST_COLUMNS, {}
    for name, (code, speaker, gender, part, *_) in PODCAST.items():
        part = part.replace("DEV", dev)
        name = f"MSP-PODCAST_{name}.wav"
        rows += f"{name},{code},4.2,3.8,4.0,{speaker},{gender},{part}\n"
        files[f"Audios/{name}"] = None
    files |= {"Audios/MSP-PODCAST_test3_0001.wav": None, labels: rows}
    files |= {"Labels/labels_detailed.csv": "FileName,WorkerID\n"}
    got, left_out = read("msp_podcast", write(tmp_path, files))
    assert {
        key: (u.emotion, u.speaker, u.gender, u.split) for key, u in got.items()
    } == {
        f"MSP-PODCAST_{name}": (label, "" if who == "Unknown" else who, gender, part)
        for name, (_, who, _, _, label, gender, part) in PODCAST.items()
    }
    assert left_out == {"MSP-PODCAST_test3_0001": "no label"}
    assert dict(got["MSP-PODCAST_0001_0008"].extra) == {
        "podcast": "0001",
        "segment": "0008",
        "rated_activation": "4.2",
        "rated_valence": "3.8",
        "rated_dominance": "4.0",
    }


EMOZIONALMENTE = {
    "metadata/samples.csv": "file_name,sentence,actor,emotion_expressed\n"
    "1601.wav,Il telefono è sul tavolo.,17,neutrality\n"
    "1602.wav,Il telefono è sul tavolo.,17,joy\n"
    "1603.wav,Che ora è?,18,disgust\n",
    "metadata/users.csv": "username,gender,age\n17,female,33\n18,other,41\n",
    "metadata/evaluations.csv": "file_name,evaluator,emotion_recognized\n",
}


def test_emozionalmente_joins_samples_and_then_users(tmp_path):
    clips = {f"emozionalmente_dataset/audio/{n}.wav": None for n in (1601, 1602, 1603)}
    tables = {f"emozionalmente_dataset/{x}": t for x, t in EMOZIONALMENTE.items()}
    got, left_out = read("emozionalmente", write(tmp_path, clips | tables))
    assert not left_out
    assert {
        key: (u.emotion, u.speaker, u.gender, u.text, dict(u.extra))
        for key, u in got.items()
    } == {
        "1601": ("neutral", "17", "F", "Il telefono è sul tavolo.", {"age": "33"}),
        "1602": ("joy", "17", "F", "Il telefono è sul tavolo.", {"age": "33"}),
        "1603": ("disgust", "18", "", "Che ora è?", {"age": "41"}),
    }


def test_nemo_has_texts_and_ages_from_its_table(tmp_path):
    table = (
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "SM0_anger_1.wav\tanger\t„Lubię” czytać, snem.\tx\t        SM0\tmale\t24\n"
    )
    names = ("samples/SM0_anger_1.wav", "samples/EB0_fear_2.wav")
    got, _ = read("nemo", write(tmp_path, dict.fromkeys(names) | {"data.tsv": table}))
    with_row, without = got["SM0_anger_1"], got["EB0_fear_2"]
    assert (with_row.text, with_row.extra["age"]) == ("„Lubię” czytać, snem.", "24")
    assert (without.emotion, without.gender, without.text) == ("fear", "F", "")
    assert without.extra["age"] == ""


CREMA_D = {
    "processedResults/summaryTable.csv": '"","FileName","VoiceVote","VoiceLevel",'
    '"FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
    '"1","1001_IEO_ANG_LO","N","56","A:D","50","A","61"\n'
    '"2","1040_ITH_SAD_X","S","56","S","50","S","61"\n',
    "VideoDemographics.csv": '"ActorID","Age","Sex","Race","Ethnicity"\n'
    "1001,51,Male,Caucasian,Not Hispanic\n",
}
CREMA_D_CLIPS = ("AudioWAV/1001_IEO_ANG_LO.wav", "AudioWAV/1040_ITH_SAD_XX.wav")


def test_crema_d_keeps_the_intended_label_beside_the_votes(tmp_path):
    got, _ = read("crema_d", write(tmp_path, dict.fromkeys(CREMA_D_CLIPS) | CREMA_D))
    first, second = got.values()
    assert (first.emotion, first.gender) == ("anger", "M")
    assert dict(first.extra) == {
        "intensity": "low",
        "voice_vote": "neutral",
        "face_vote": "anger:disgust",
        "multimodal_vote": "anger",
        "age": "51",
    }
    assert (second.gender, second.extra["age"]) == ("M", "")


def test_a_table_that_is_not_needed_may_be_unreadable(tmp_path, caplog):
    files = dict.fromkeys(CREMA_D_CLIPS) | {"VideoDemographics.csv": None}
    with caplog.at_level(logging.WARNING):
        got, _ = read("crema_d", write(tmp_path, files))
    assert len(got) == 2
    assert any("VideoDemographics.csv lacks" in x for x in caplog.messages)


def test_missing_labels_are_named(tmp_path):
    root = write(tmp_path, {"train_splits/dia0_utt0.mp4": None})
    with pytest.raises(
        InputError, match=r"lacks the labels of MELD.*train_sent_emo.csv"
    ):
        named.read("meld", root)
    with pytest.raises(InputError, match="no recording of MSP-Podcast"):
        named.read("msp_podcast", root)
    write(tmp_path, {"train_sent_emo.csv": "Utterance,Speaker\n"})
    with pytest.raises(InputError, match="lacks the column Dialogue_ID, Emotion"):
        named.read("meld", root)


def test_labels_of_another_release_are_told(tmp_path):
    rows = PODCAST_COLUMNS + "MSP-PODCAST_0009_0001.wav,N,4,4,4,1,Male,Train\n"
    files = {"labels_consensus.csv": rows, "MSP-PODCAST_0001_0001.wav": None}
    with pytest.raises(InputError, match="no usable recording .*'no label': 1"):
        named.read("msp_podcast", write(tmp_path, files))


def test_corpora_with_labels_in_a_table():
    """Each has a test above."""
    abouts = [about for about in load().values() if about.label_table]
    # Recordings and speakers; 0: releases of MSP-Podcast replace one another.
    assert {x.name: (x.utterances, x.speakers) for x in abouts} == {
        "emozionalmente": (6902, 431),
        "meld": (13_706, 304),
        "msp_improv": (8438, 12),
        "msp_podcast": (0, 0),
    }
