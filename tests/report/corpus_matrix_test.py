"""The picture of trained and tested corpora."""

import pytest

from ser_jax.report import corpus_matrix


def _cell(train, test, ua=0.5, chance=0.25):
    return {
        "train": train,
        "test": test,
        "own": train == [test],
        "ua": ua,
        "chance": chance,
    }


def _drawn(cells):
    """(Names of rows, names of columns, what is written in the cells, title.)"""
    figure = corpus_matrix.matrix({"corpora": {"cells": cells}})
    (axes,) = figure.axes
    rows, columns = (
        [x.get_text() for x in labels]
        for labels in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    return rows, columns, [x.get_text() for x in axes.texts], axes.get_title()


def test_what_is_left_out_names_a_training_on_many():
    names = ["crema_d", "emodb", "ravdess", "savee"]
    cells = [_cell([x for x in names if x != y], y) for y in names]
    rows, columns, texts, title = _drawn(cells)
    assert rows == [f"all but {name}" for name in names]
    # A mean of one is none.
    assert columns == names and texts.count("50.0%") == 4
    assert title == "UA; chance 25.0%"
    assert _drawn([_cell(names, name) for name in names])[0] == ["all"]


def test_the_probe_of_an_older_workdir_is_reported():
    probe = {"accuracy": 0.5, "chance": 0.5, "utterances": 400}
    text = corpus_matrix._probe(probe)
    assert "of recordings that it does not know" in text
    text = corpus_matrix._probe(probe | {"unknown": "speakers"})
    assert "of speakers that it does not know" in text


def test_means_are_over_other_corpora():
    cells = [
        _cell(["a"], "a", 0.9),
        _cell(["a"], "b", 0.4),
        _cell(["a"], "c", 0.6),
        _cell(["b"], "a", 0.3),
    ]
    rows, columns, texts, _ = _drawn(cells)
    assert (rows, columns[-1]) == (["a", "b"], "mean of others")
    assert texts[-2:] == ["50.0%", "30.0%"]


@pytest.mark.parametrize(
    ("chances", "said"), [((0.25, 0.25), "25.0%"), ((0.5, 1 / 3), "25.0% to 50.0%")]
)
def test_a_corpus_without_some_classes_has_another_chance(chances, said):
    cells = [_cell(["b"], x, chance=p) for x, p in zip("ac", chances, strict=True)]
    assert _drawn([_cell(["a"], "b"), *cells])[-1] == f"UA; chance {said}"
