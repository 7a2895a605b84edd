"""Whether two systems differ: by hand, and by simulation."""

import numpy as np
import pytest

from ser_jax.scoring import paired


def test_difference_by_hand():
    """Class 0: 2 of 2 against 1 of 2; class 1: 1 of 2 against 1 of 2. Gain 1/4."""
    found = paired.compare([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 0, 1], list("abab"))
    assert found.ua == pytest.approx(0.25) and found.speakers == 2
    # Speaker a gains 0 + 1/4, b 1/4 - 1/4: of four signs all give 1/4 in size.
    assert found.p == 1.0


def test_ten_speakers_of_ten_are_two_in_1024():
    speakers = np.repeat([f"s{i}" for i in range(10)], 6)
    labels = np.tile([0, 1, 2], 20)
    wrong = np.where(np.arange(60) % 6 < 3, (labels + 1) % 3, labels)
    found = paired.compare(labels, labels, wrong, speakers)
    assert found.ua == pytest.approx(0.5) and found.p == pytest.approx(2 / 1024)
    turned = paired.compare(labels, wrong, labels, speakers)
    assert turned.ua == -found.ua and turned.p == found.p


def test_order_plays_no_part():
    rng = np.random.default_rng(0)
    labels, first, second = rng.integers(3, size=(3, 90))
    speakers = np.array([f"s{i}" for i in rng.integers(6, size=90)])
    order = rng.permutation(90)
    one = paired.compare(labels, first, second, speakers)
    assert (
        paired.compare(labels[order], first[order], second[order], speakers[order])
        == one
    )


def _systems(rng, gain, count=12):
    """20 utterances of each speaker; both systems are better with some speakers."""
    labels = rng.integers(3, size=20 * count)
    speakers = np.repeat(np.arange(count), 20)
    ease = rng.normal(0.6, 0.1, (2, count)) + [[gain], [0.0]]
    hit = rng.random((2, 20 * count)) < ease[:, speakers]
    first, second = np.where(hit, labels, (labels + 1) % 3)
    return labels, first, second, speakers.astype(str)


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [12, 20])  # every flip of the signs; drawn flips
def test_size_of_the_test_and_coverage_of_the_interval(speakers):
    rng = np.random.default_rng(1)
    found = [paired.compare(*_systems(rng, 0.0, speakers)) for _ in range(300)]
    rejected = np.mean([x.p <= 0.05 for x in found])
    covered = np.mean([x.interval[0] <= 0 <= x.interval[1] for x in found])
    # Binomial, 300 draws: 0.05 within 0.025 and 0.95 within 0.04 (three deviations).
    assert 0.02 <= rejected <= 0.09 and covered >= 0.91
    power = np.mean([paired.compare(*_systems(rng, 0.2)).p <= 0.05 for _ in range(100)])
    assert power > 0.7


def test_seeds_may_be_drawn_as_well():
    """Of two seeds one answers all right, one all wrong: three equally likely pairs."""
    labels = np.tile([0, 1], 20)
    speakers = np.repeat([f"s{i}" for i in range(8)], 5)
    wrong = 1 - labels

    def draw(rng):
        """Right if both seeds drawn are, or one is; as often wrong as not."""
        return (labels if rng.integers(4) else wrong), wrong

    fixed = paired.compare(labels, labels, wrong, speakers)
    assert fixed.interval == (1, 1)
    drawn = paired.compare(labels, labels, wrong, speakers, draw_seeds=draw)
    assert drawn.interval == (0, 1)
    assert (drawn.ua, drawn.p) == (fixed.ua, fixed.p)


@pytest.mark.slow
def test_an_interval_with_seeds_covers_what_other_seeds_would_give():
    """Seeds shift a system's hit rate by 0.1; the interval of the mean must know it."""
    rng = np.random.default_rng(2)
    speakers = np.repeat([f"s{i}" for i in range(30)], 8)
    labels = np.tile([0, 1], 120)
    covered = {False: 0, True: 0}
    for _ in range(60):
        rates = rng.normal(0.7, 0.1, (2, 6)).clip(0, 1)  # of two systems' six seeds
        votes = rng.random((2, 6, 240)) < rates[..., None]

        def decide(system, seeds, votes=votes):
            right = votes[system][seeds].mean(axis=0) >= 0.5
            return np.where(right, labels, 1 - labels)

        def draw(rng, decide=decide):
            return tuple(decide(x, rng.integers(6, size=6)) for x in (0, 1))

        first, second = (decide(x, np.arange(6)) for x in (0, 1))
        for drawn in covered:
            found = paired.compare(
                labels, first, second, speakers, draw_seeds=draw if drawn else None
            )
            covered[drawn] += found.interval[0] <= 0 <= found.interval[1]
    assert covered[True] / 60 >= 0.88  # 0.95 less three deviations of 60 draws
    assert covered[False] < covered[True]


def test_holm_by_hand():
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("speakers", [["a", "a", "a"], ["a", "b"]])
def test_what_cannot_be_compared_is_refused(speakers):
    with pytest.raises(ValueError, match="expected"):
        paired.compare([0, 1, 0], [0, 1, 0], [0, 1, 0], speakers)
