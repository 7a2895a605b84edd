"""Which columns tell groups apart."""

import dataclasses

from ser_jax.data import columns
from tests.data.turns import turn


def _turns():
    rows = (("1F", "F", "a"), ("1F", "F", "b"), ("1M", "M", "a"), ("2M", "M", ""))
    return [
        turn(str(i), speaker, "neu", gender=gender)
        for i, (speaker, gender, _) in enumerate(rows)
    ], [take for *_, take in rows]


def test_columns_of_few_values_that_name_neither_speakers_nor_classes(monkeypatch):
    turns, takes = _turns()
    more = [
        {"take": take, "actor": u.speaker.lower(), "one": "x", "code": "pqpq"[i]}
        for i, (u, take) in enumerate(zip(turns, takes, strict=True))
    ]
    turns = [dataclasses.replace(u, extra=x) for u, x in zip(turns, more, strict=True)]
    found = columns.telling(turns, [0, 1, 0, 1])
    # `actor` names the speakers anew, `code` the classes; `one` tells nothing apart.
    assert found == {"gender": ["F", "F", "M", "M"], "take": ["a", "b", "a", ""]}
    monkeypatch.setattr(columns, "MOST_VALUES", 1)
    assert columns.telling(turns, [0, 1, 0, 1]) == {}
