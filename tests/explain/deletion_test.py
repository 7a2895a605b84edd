"""The deletion test on a model whose answer rests on one known cell."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from ser_jax.explain import canvas, corpus, deletion, deletion_report
from ser_jax.explain.corpus_views import PartBatch
from ser_jax.explain.viewer import OWN, Viewer, Windows, saliency
from ser_jax.features.spec import RECIPES
from ser_jax.layers.attention_grid import AttentionMap
from ser_jax.predict.trained_model import TrainedModel

FRAMES, BANDS = 24, 10
TILE = {"frames": slice(8, 12), "bands": slice(4, 6)}  # row 2 of 5, column 2 of 6


class OneCell(nnx.Module):
    """Two classes by the sign of one tile; attends there, or to another place."""

    def __init__(self, attends_to: tuple[int, int]):
        self.weight = nnx.Param(jnp.ones(()))
        self.attends_to = attends_to

    def __call__(self, batch, *, rngs=None):
        tile = batch["frames"][:, TILE["frames"], TILE["bands"], 0].mean(axis=(1, 2))
        return jnp.stack([tile, -2 * tile], axis=1) * self.weight[...] * 50 + jnp.array(
            [0, 1e-3]
        )

    def attention_maps(self, state, batch):
        mass = jnp.full((len(batch["frames"]), 5, 6), 0.5 / 30)
        mass = mass.at[:, *self.attends_to].add(0.5)
        bands, columns = tuple(range(0, 11, 2)), tuple(range(0, 25, 4))
        return {"map": AttentionMap(mass, bands, columns)}


def trained(attends_to) -> TrainedModel:
    graphdef, params, stats = nnx.split(OneCell(attends_to), nnx.Param, ...)
    config = ConfigDict(
        {
            "data": {"pad": "after_norm", "normalize": "fold"},
            "segment": {"vote": "mean"},
        }
    )
    stacked = nnx.State({"weight": params["weight"].replace(jnp.ones((2,)))})
    return TrainedModel(
        config=config,
        spec=RECIPES["logmel64"],
        classes=("up", "down"),
        input_shapes={"frames": (FRAMES, BANDS, 1)},
        runs=(("a", 0), ("b", 0)),
        folds=({}, {}),
        graphdef=graphdef,
        weights={"params": stacked, "stats": stats},
        mean=np.zeros((2, BANDS, 1), np.float32),
        std=np.ones((2, BANDS, 1), np.float32),
        provenance={
            "model": "one",
            "corpus": "made",
            "stamps": ["paper mode"],
            "workdir": "w",
        },
    )


class Parts:
    """40 utterances of one window each; the tile says which class they are."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.labels = np.arange(40) % 2
        self.num_frames = np.full(40, FRAMES)
        self.frames = rng.normal(size=(40, FRAMES, BANDS, 1)).astype(np.float32)
        signs = 1 - 2.0 * self.labels[:, None, None, None]
        self.frames[:, TILE["frames"], TILE["bands"]] = signs

    def batches(self, r):
        for start in (0, 20):
            at = np.arange(start, start + 20)
            windows = Windows(self.frames[at], self.num_frames[at].astype(np.int32), {})
            yield PartBatch(windows, 20, at, np.zeros(20, int))


def examined(attends_to):
    found = trained(attends_to)
    runs, pictures = corpus.examine(Viewer(found), Parts())
    return runs, pictures, found


def test_losing_the_cell_that_decides_costs_what_random_cells_do_not():
    runs, pictures, found = examined((2, 2))
    assert [run.plain for run in runs] == [1.0, 1.0] and runs[0].cells == 30
    for share in deletion.SHARES:
        for condition in (deletion.ATTENDED, deletion.SALIENT):
            # With the tile at 0 every answer is "down".
            assert deletion_report.mean_ua(runs, condition, share) == [0.5, 0.5]
        assert deletion_report.mean_ua(runs, deletion.LEAST, share) == [1.0, 1.0]
        random = np.mean(deletion_report.mean_ua(runs, deletion.RANDOM, share))
        # Half of those whose cell is hidden are wrong; 400 draws, 3 deviations.
        assert abs(random - (1 - share / 2)) < 3 * np.sqrt(share / 4 / 400) + 0.02
    said = deletion_report.summary(runs, found.provenance)
    assert json.loads(json.dumps(said)) == said and said["stamps"] == ["paper mode"]
    # All look at the same place: another recording's attention is as good.
    assert "The attended places matter" in said["conclusion"]
    assert said["drop_beyond_random"][0]["mean"] > 0.4
    assert "paper mode" in deletion_report.table(runs, found.provenance)
    lines = deletion_report.as_csv(runs).decode().splitlines()
    assert len(lines) == 1 + 2 * (1 + len(deletion.CASES))
    attention = pictures.mean(0)["attention"]
    assert pictures.utterances == [40, 40] and attention.shape == (5, 60)
    hot = np.flatnonzero(np.nanmax(attention, axis=1) == np.nanmax(attention))
    assert hot.tolist() == [2]


def test_attention_to_the_wrong_place_does_not_matter():
    runs = examined((0, 5))[0]
    assert deletion_report.mean_ua(runs, deletion.ATTENDED, 0.1)[0] > 0.9
    assert deletion_report.mean_ua(runs, deletion.SALIENT, 0.1) == [0.5, 0.5]
    assert "does not show" in deletion_report.conclusion(runs)


def test_saliency_is_of_the_class_that_is_asked_for():
    batch = next(Parts().batches(0))
    viewer = Viewer(trained((2, 2)))
    up, down, own = (
        viewer.look(0, batch.windows, target).saliency["frames"].sum(axis=(1, 2))
        for target in (0, 1, OWN)
    )
    np.testing.assert_allclose(up, 50, rtol=1e-5)  # 50 times the mean of the tile
    np.testing.assert_allclose(down, 100, rtol=1e-5)
    np.testing.assert_allclose(own, np.where(batch.utterance % 2, 100, 50), rtol=1e-5)


def test_every_case_hides_as_many_valid_cells():
    rng = np.random.default_rng(0)
    mass, slopes = rng.random((2, 4, 3, 7))
    mass[3] = 1.0  # ties
    valid = np.arange(7) < np.array([7, 4, 1, 0])[:, None]
    cases = dict(deletion.hidden_cells(mass, slopes, valid, np.arange(4), rng))
    assert list(cases) == list(deletion.CASES)
    for case, cells in cases.items():
        count = [round(case.share * n) for n in (21, 12, 3)]
        assert cells.sum(axis=(1, 2)).tolist() == [max(1, n) for n in count] + [0]
        assert not (cells & ~valid[:, None]).any()
    attended = cases[deletion.Case(deletion.ATTENDED, 0.3)]
    least = cases[deletion.Case(deletion.LEAST, 0.3)]
    assert mass[0][attended[0]].min() > mass[0][~attended[0]].max()
    assert mass[0][least[0]].max() < mass[0][~least[0]].min()
    first = cases[deletion.Case(deletion.RANDOM, 0.5, 0)]
    assert (first != cases[deletion.Case(deletion.RANDOM, 0.5, 1)]).any()


def test_another_recordings_cells_are_not_the_own():
    mass = np.zeros((4, 1, 8))
    mass[[0, 1, 2, 3], 0, [0, 0, 5, 5]] = 1.0
    valid = np.ones((4, 8), bool)
    rng = np.random.default_rng(0)
    cases = deletion.hidden_cells(mass, mass, valid, np.array([7, 7, 9, 9]), rng)
    for case, cells in cases:
        if case.condition == deletion.OTHER and case.share == 0.1:
            assert cells.argmax(axis=2)[:, 0].tolist() == [5, 5, 0, 0]


@pytest.mark.parametrize("number", [1, 5])
def test_words_for_every_outcome(number):
    def run(drops):
        hidden = {case: 0.8 - drops.get(case.condition, 0.1) for case in deletion.CASES}
        return [corpus.RunScores(f"f{i}", 0, 9, 30, 0.8, hidden) for i in range(number)]

    found = {
        words: deletion_report.conclusion(run(drops))
        for words, drops in {
            "The attention matters": {deletion.ATTENDED: 0.3},
            "does not show": {},
            "scattered": {deletion.OTHER: 0.02},
            "Random cells do more harm": {deletion.RANDOM: 0.3},
            "attended places matter": {deletion.ATTENDED: 0.3, deletion.OTHER: 0.3},
            "attended or not": {
                deletion.ATTENDED: 0.3,
                deletion.OTHER: 0.3,
                deletion.LEAST: 0.3,
            },
        }.items()
    }
    for words, said in found.items():
        assert words in said
        assert ("no spread" in said) == (number == 1)


class Linear(nnx.Module):
    """Logits that are linear in frames and words."""

    def __init__(self, shape, words, classes):
        rng = np.random.default_rng(0)
        self.frames = nnx.Param(jnp.asarray(rng.normal(size=(*shape, classes))))
        self.words = nnx.Param(jnp.asarray(rng.normal(size=(*words, classes))))

    def __call__(self, batch):
        heard = jnp.einsum("btfc,tfck->bk", batch["frames"], self.frames[...])
        return heard + jnp.einsum("ble,lek->bk", batch["words"], self.words[...])


def test_saliency_of_a_linear_model_is_its_weights():
    model = Linear((7, 5, 3), (4, 6), 3)
    batch = {"frames": jnp.ones((2, 7, 5, 3)), "words": jnp.ones((2, 4, 6))}
    found = saliency(model, batch, jnp.array([2, 0]))
    for i, k in enumerate((2, 0)):
        for name in ("frames", "words"):
            want = np.abs(np.asarray(getattr(model, name)[...])[..., k]).sum(axis=-1)
            np.testing.assert_allclose(found[name][i], want, rtol=1e-6)


def test_a_cell_of_a_grid_and_the_input_under_it():
    # The second example has 9 frames, so its last cell is cut, and 2 behind none.
    mass = np.ones((2, 2, 3))
    found = AttentionMap(mass / mass.sum(), (0, 3, 8), (0, 4, 8, 9))
    owner = canvas.columns_of({"map": found}, np.array([11, 7]))
    want = [[0] * 4 + [1] * 4 + [2] * 3, [0] * 4 + [1] * 3 + [-1] * 4]
    assert owner.tolist() == want
    cells = np.zeros((2, 2, 3), bool)
    cells[0, 1, 0] = cells[0, 0, 2] = cells[1, 0, 1] = True
    hidden = canvas.inputs_under(found, cells, owner, 13)["frames"]
    want = np.zeros((2, 13, 8), bool)
    want[0, :4, 3:8] = want[0, 8:11, :3] = want[1, 4:7, :3] = True
    np.testing.assert_array_equal(hidden, want)
    under = canvas.cells_under(found, hidden.astype(float), owner)
    np.testing.assert_allclose(under, cells, atol=1e-12)


def test_even_attention_is_one_wherever_there_is_a_cell():
    mass = np.ones((2, 2, 3)) / 6
    mass[1] = [[0.25, 0.25, 0], [0.25, 0.25, 0]]  # 6 frames: two columns
    found = AttentionMap(mass, (0, 3, 8), (0, 4, 8, 9))
    owner = canvas.columns_of({"map": found}, np.array([11, 6]))
    multiples = canvas.against_even(found, owner)
    np.testing.assert_allclose(multiples[0], 1, rtol=1e-12)
    np.testing.assert_allclose(multiples[1, :, :6], 1, rtol=1e-12)
    assert not multiples[1, :, 6:].any()


def test_overlapping_windows_are_averaged():
    picture = canvas.Canvas(2, 7)
    picture.add(np.ones((2, 4)), np.arange(4))
    picture.add(np.full((2, 4), 3.0), np.arange(2, 6))
    want = [1, 1, 2, 2, 3, 3, np.nan]
    np.testing.assert_allclose(picture.mean(), [want, want])
