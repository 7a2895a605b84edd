"""The deletion test on a model whose answer rests on one known cell."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from ser_jax.explain import corpus, deletion, deletion_report
from ser_jax.explain.deletion import CASES, RunScores
from ser_jax.explain.explainer import (
    PREDICTED,
    Explainer,
    Explanation,
    SegmentBatch,
    saliency,
)
from ser_jax.explain.grid import MeanMaps, SegmentGrid, add_segments
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


def one_cell(attends_to) -> TrainedModel:
    """Two equal runs of `OneCell`."""
    graphdef, params, stats = nnx.split(OneCell(attends_to), nnx.Param, ...)
    data = {"pad": "after_norm", "normalize": "fold"}
    stacked = nnx.State({"weight": params["weight"].replace(jnp.ones((2,)))})
    return TrainedModel(
        config=ConfigDict({"data": data, "segment": {"vote": "mean"}}),
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
            "corpus": "noise",
            "stamps": ["paper mode"],
            "workdir": "w",
        },
    )


class NoiseSegments:
    """40 utterances of one segment each; the tile says which class they are."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.labels = np.arange(40) % 2
        self.num_frames = np.full(40, FRAMES, np.int32)
        self.frames = rng.normal(size=(40, FRAMES, BANDS, 1)).astype(np.float32)
        signs = 1 - 2.0 * self.labels[:, None, None, None]
        self.frames[:, TILE["frames"], TILE["bands"]] = signs

    def batches(self, r):
        for start in (0, 20):
            at = np.arange(start, start + 20)
            yield SegmentBatch(
                frames=self.frames[at],
                num_frames=self.num_frames[at],
                start_frame=np.zeros(20, int),
                utterance=at,
                count=20,
                side_inputs={},
            )


def mean_ua(runs, condition, share):
    return [run.mean_ua(condition, share) for run in runs]


def test_losing_the_cell_that_decides_costs_what_random_cells_do_not():
    trained = one_cell((2, 2))
    runs, class_maps = corpus.explain(Explainer(trained), NoiseSegments())
    assert [run.plain for run in runs] == [1.0, 1.0] and runs[0].cells == 30
    for share in deletion.SHARES:
        for condition in (deletion.ATTENDED, deletion.SALIENT):
            # With the tile at 0 every answer is "down".
            assert mean_ua(runs, condition, share) == [0.5, 0.5]
        assert mean_ua(runs, deletion.LEAST, share) == [1.0, 1.0]
        random = np.mean(mean_ua(runs, deletion.RANDOM, share))
        # Half of those whose cell is hidden are wrong; 400 draws, 3 deviations.
        assert abs(random - (1 - share / 2)) < 3 * np.sqrt(share / 4 / 400) + 0.02
    summary = deletion_report.summarise(runs, trained.provenance)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["stamps"] == ["paper mode"]
    # All attend to the same place: another recording's attention is as good.
    assert "The attended places matter" in summary["conclusion"]
    assert summary["drop_beyond_random"][0]["mean"] > 0.4
    table = deletion_report.make_table(runs, trained.provenance)
    assert "paper mode" in table and "100.0 ±  0.0" in table
    rows = list(deletion_report.csv_rows(runs))
    assert len(rows) == 2 * (1 + len(deletion.CASES))
    attention = class_maps.maps[0].means()["attention"]
    assert class_maps.utterances == [40, 40] and attention.shape == (5, 60)
    hot = np.flatnonzero(np.nanmax(attention, axis=1) == np.nanmax(attention))
    assert hot.tolist() == [2]


def test_attention_to_the_wrong_place_does_not_matter():
    runs, _ = corpus.explain(Explainer(one_cell((0, 5))), NoiseSegments())
    assert runs[0].mean_ua(deletion.ATTENDED, 0.1) > 0.9
    assert mean_ua(runs, deletion.SALIENT, 0.1) == [0.5, 0.5]
    assert "does not show" in deletion_report.conclude(runs)


def test_saliency_is_of_the_target_class():
    batch = next(NoiseSegments().batches(0))
    explainer = Explainer(one_cell((2, 2)))
    up, down, predicted = (
        explainer.explain(0, batch, target).saliency["frames"].sum(axis=(1, 2))
        for target in (0, 1, PREDICTED)
    )
    np.testing.assert_allclose(up, 50, rtol=1e-5)  # 50 times the mean of the tile
    np.testing.assert_allclose(down, 100, rtol=1e-5)
    want = np.where(batch.utterance % 2, 100, 50)
    np.testing.assert_allclose(predicted, want, rtol=1e-5)


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
@pytest.mark.parametrize(
    ("words", "drops"),
    {
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
    }.items(),
)
def test_a_conclusion_for_every_outcome(number, words, drops):
    hidden = {case[:2]: [0.8 - drops.get(case.condition, 0.1)] for case in CASES}
    runs = [RunScores(f"f{i}", 0, 9, 30, 0.8, hidden) for i in range(number)]
    conclusion = deletion_report.conclude(runs)
    assert words in conclusion
    assert ("no spread" in conclusion) == (number == 1)


@pytest.mark.parametrize(
    ("drops", "matters"),
    [((0.5, 0.4, 0.6, 0.3), True), ((0.9, -0.5, 0.6, -0.3), False)],
)
def test_a_difference_counts_from_two_standard_errors_on(drops, matters):
    runs = []
    for i, drop in enumerate(drops):
        hidden = {case[:2]: [0.8] for case in CASES}
        hidden |= {
            (deletion.ATTENDED, share): [0.8 - drop] for share in deletion.SHARES
        }
        runs.append(RunScores(f"f{i}", 0, 9, 30, 0.8, hidden))
    assert ("The attention matters" in deletion_report.conclude(runs)) == matters


class Linear(nnx.Module):
    """Logits that are linear in frames and words."""

    def __init__(self, shape, words, classes):
        rng = np.random.default_rng(0)
        self.frames = nnx.Param(jnp.asarray(rng.normal(size=(*shape, classes))))
        self.words = nnx.Param(jnp.asarray(rng.normal(size=(*words, classes))))

    def __call__(self, batch):
        logits = jnp.einsum("btfc,tfck->bk", batch["frames"], self.frames[...])
        return logits + jnp.einsum("ble,lek->bk", batch["words"], self.words[...])


def test_saliency_of_a_linear_model_is_its_weights():
    model = Linear((7, 5, 3), (4, 6), 3)
    batch = {"frames": jnp.ones((2, 7, 5, 3)), "words": jnp.ones((2, 4, 6))}
    slopes = saliency(model, batch, jnp.array([2, 0]))
    for i, k in enumerate((2, 0)):
        for name in ("frames", "words"):
            want = np.abs(np.asarray(getattr(model, name)[...])[..., k]).sum(axis=-1)
            np.testing.assert_allclose(slopes[name][i], want, rtol=1e-6)


def grid_over(attention, num_frames):
    """The grid of a map over two segments of 13 frames and 8 bands."""
    frames, zeros = np.zeros((2, 13, 8, 1), np.float32), np.zeros(2, int)
    batch = SegmentBatch(frames, np.array(num_frames), zeros, zeros, 2, {})
    return SegmentGrid({"map": attention}, batch)


def test_a_cell_of_a_grid_and_the_input_under_it():
    # The second example has 9 frames, so its last cell is cut, and 2 behind none.
    mass = np.ones((2, 2, 3))
    attention = AttentionMap(mass / mass.sum(), (0, 3, 8), (0, 4, 8, 9))
    grid = grid_over(attention, [11, 7])
    want = [[0] * 4 + [1] * 4 + [2] * 3, [0] * 4 + [1] * 3 + [-1] * 4]
    assert grid.column.tolist() == [row + [-1, -1] for row in want]
    assert grid.valid.tolist() == [[True] * 3, [True, True, False]]
    cells = np.zeros((2, 2, 3), bool)
    cells[0, 1, 0] = cells[0, 0, 2] = cells[1, 0, 1] = True
    hidden = grid.input_mask(cells)["frames"]
    want = np.zeros((2, 13, 8), bool)
    want[0, :4, 3:8] = want[0, 8:11, :3] = want[1, 4:7, :3] = True
    np.testing.assert_array_equal(hidden, want)
    np.testing.assert_allclose(
        grid.mean_per_cell(hidden.astype(float)), cells, atol=1e-12
    )


def test_uniform_attention_is_one_wherever_there_is_a_cell():
    mass = np.ones((2, 2, 3)) / 6
    # Two columns, which 9 frames do not fill; the last one stands for frame 8.
    mass[1] = [[0.25, 0.25, 0], [0.25, 0.25, 0]]
    attention = AttentionMap(mass, (0, 3, 8), (0, 4, 8, 9))
    multiples = grid_over(attention, [11, 9]).relative(attention)
    np.testing.assert_allclose(multiples[0, :, :11], 1, rtol=1e-12)
    np.testing.assert_allclose(multiples[1, :, :9], 1, rtol=1e-12)
    assert np.isnan(multiples[1, :, 9:]).all()


def add_to_time_axis(columns, num_frames, starts, values):
    """Means of one map of equal segments of 4 real frames and one of padding."""
    maps, count = MeanMaps(columns), len(starts)
    frames = np.broadcast_to(np.array(values)[:, None, None], (count, 5, 2))
    batch = SegmentBatch(
        frames=np.zeros((count, 5, 2, 1)),
        num_frames=np.full(count, 4),
        start_frame=np.array(starts),
        utterance=np.zeros(count, int),
        count=count,
        side_inputs={},
    )
    explanation = Explanation(None, {}, {"frames": frames + 1}, frames)
    add_segments({0: maps}, [num_frames], batch, explanation, {})
    means = maps.means()
    np.testing.assert_allclose(means["saliency"], means["features"] + 1)
    return means["features"]


def test_overlapping_segments_are_averaged():
    got = add_to_time_axis(7, 7, starts=[0, 2], values=[1.0, 3.0])
    want = [1, 1, 2, 2, 3, 3, np.nan]
    np.testing.assert_allclose(got, [want, want])


def test_frames_share_the_columns_of_a_shorter_time_axis():
    got = add_to_time_axis(3, 9, starts=[0, 3], values=[1.0, 5.0])
    want = [1, (1 + 3 * 5) / 4, 5]
    np.testing.assert_allclose(got, [want, want])
