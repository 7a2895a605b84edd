"""A trained workdir as one file that needs no ser_jax, and a card that describes it."""

import hashlib
import json
import os

import jax
from etils import epath

from ser_jax.errors import InputError
from ser_jax.export import check, weights
from ser_jax.export.formats import FORMATS
from ser_jax.predict import trained_model
from ser_jax.predict.recognizer import Recognizer
from ser_jax.workdir import workdir as workdir_lib
from ser_jax.workdir.results import write_atomically

WEIGHTS = "safetensors"
_LICENCE = (
    "The program is ser_jax's (Apache-2.0). The weights were learned from {corpus}: "
    "its licence decides what they may be used for."
)


def export(
    workdir, format: str, *, run: str = "", out: str = "", longest_s: float = 10.0
) -> str:
    """Writes a file and its card, after it has answered as the live model does.

    The file is loaded back in a new process that has its runtime and no ser_jax, and
    asked about recordings of the corpus (or made ones, where the corpus is not here)
    of several lengths. Nothing is left behind if an answer differs by more than 1e-4.

    Args:
      workdir: A trained folder, local or `gs://`.
      format: A key of `formats.FORMATS`, or `safetensors`: the weights alone.
      run: `fold,seed` of the one run to take; empty: all, averaged.
      out: The file; empty: WORKDIR/export/MODEL.SUFFIX. The card is OUT.json.
      longest_s: Formats of fixed size: the longest recording, in seconds.

    Returns:
      What was done, for people.

    Raises:
      InputError: The format is unknown, its packages are missing, it cannot carry the
        model, or what it carries answers otherwise.
    """
    if format not in (*FORMATS, WEIGHTS):
        raise InputError(
            f"--format: expected one of {', '.join((*FORMATS, WEIGHTS))}; got {format!r}."
        )
    if format != WEIGHTS:
        FORMATS[format].check_packages(format)
    found = trained_model.load(workdir, run)
    suffix = f".{WEIGHTS}" if format == WEIGHTS else FORMATS[format].suffix
    out = _target(
        out or epath.Path(workdir) / "export" / f"{found.provenance['model']}{suffix}"
    )
    make = _weights if format == WEIGHTS else _program
    content, about, said = make(found, format, longest_s)
    card = _card(found, format) | about
    card["file"] = {
        "name": out.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(card, indent=1) + "\n"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
        write_atomically(out.parent / f"{out.name}.json", text.encode())
    except OSError as error:
        raise InputError(f"--out: expected a file that can be written; {error}.") from (
            error
        )
    return (
        f"{found.description()}\nWrote {out} ({len(content) / 1e6:.1f} MB) and its card "
        f"{out.name}.json.\n{said}"
    )


def _target(out) -> epath.Path:
    """Where the file goes, looked at before the work begins."""
    out = epath.Path(out).expanduser()
    if out.is_dir():
        raise InputError(f"--out: expected a file; got the folder {out}.")
    above = next((x for x in out.parents if x.exists()), None)
    if "://" not in str(out) and above and not os.access(above, os.W_OK):
        raise InputError(
            f"--out: expected a file that can be written; {above} cannot. Choose "
            "another with --out=..."
        )
    return out


def _program(found: trained_model.TrainedModel, name: str, longest_s: float):
    """A checked program's content, its part of the card, and a line for people."""
    form = FORMATS[name]
    _check_model(found, name)
    longest = _longest(found, longest_s) if form.is_fixed else 0
    with jax.default_device(jax.devices("cpu")[0]):
        live = Recognizer(found)
        try:
            content = form.write(found, longest)
        except ImportError:  # a broken installation, not the model's fault
            raise
        except Exception as error:  # converters raise many kinds
            problem = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"--format={name}: expected a model that it can carry; "
                f"{found.provenance['model']} has what it cannot: {problem[:300]}. Use "
                "another format."
            ) from error
        checked = check.check(live, form, content, longest)
    limits = list(form.limits)
    if form.is_fixed:
        limits.append(f"one recording of at most {longest_s:g} s; cut longer ones")
    shape = [1, longest] if form.is_fixed else ["B", "N"]
    about = _interface(found, shape) | {"limits": limits, "checked": checked}
    said = (
        f"Loaded back without ser_jax by {checked['runtime']}: {checked['answers']} "
        f"answers for {checked['recordings']} differ from the live model's by "
        f"{checked['largest_difference']:.1e} at most."
    )
    return content, about, said


def _longest(found: trained_model.TrainedModel, longest_s: float) -> int:
    """Samples N of a program of fixed size."""
    window_s = found.config.segment.window_s
    if not longest_s >= window_s:
        raise InputError(
            f"--longest: expected at least the model's window, {window_s:g} s; got "
            f"{longest_s:g} s."
        )
    return round(longest_s * found.spec.sample_rate_hz)


def _interface(found: trained_model.TrainedModel, shape: list) -> dict:
    """Names, types and meanings of inputs [B, N] and outputs."""

    def array(dtype: str, shape: list, meaning: str) -> dict:
        return {"dtype": dtype, "shape": shape, "meaning": meaning}

    rate_hz = found.spec.sample_rate_hz
    heard = f"mono, in [-1, 1], {rate_hz} Hz; padded with anything"
    number, classes = shape[0], len(found.classes)
    said = array("float32", [number, classes], "in the order of `classes`")
    return {
        "inputs": {
            "samples": array("float32", shape, heard),
            "lengths": array("int32", [number], "samples of each recording, 1 ... N"),
        },
        "outputs": {"probabilities": said},
    }


def _weights(found: trained_model.TrainedModel, name: str, longest_s: float):
    """The same of the weights alone."""
    del name, longest_s  # of programs
    content = weights.to_bytes(found)
    shapes = {k: list(v.shape) for k, v in weights.named(found).items()}
    said = f"{len(shapes)} arrays; `ser_jax.export.weights.read` takes them back."
    return content, {"arrays": shapes, "limits": ["weights alone, no program"]}, said


def _check_model(found: trained_model.TrainedModel, name: str) -> None:
    """Refuses models whose answer is no function of the samples alone."""
    model, data, segment = (
        found.provenance["model"],
        found.config.data,
        found.config.segment,
    )
    reads = set(found.input_shapes) - {"frames", "frame_mask"}
    if reads:
        raise InputError(
            f"--format={name}: expected a model that reads sound alone; {model} also "
            f"reads {', '.join(sorted(reads))}. Export its weights with "
            f"--format={WEIGHTS}."
        )
    if data.pad == "before_norm" and segment.rule == "whole":
        raise InputError(
            f"--format={name}: expected answers that do not depend on padding; {model} "
            "with segment.rule=whole and data.pad=before_norm hears it. Export its "
            f"weights with --format={WEIGHTS}."
        )


def _card(found: trained_model.TrainedModel, name: str) -> dict:
    """What holds for every format."""
    about = found.provenance
    ours = workdir_lib.versions()
    kept = ("python", "jax", "jaxlib", "flax", "numpy")
    return {
        "format": name,
        "model": about["model"],
        "classes": list(found.classes),
        "corpus": about["corpus"],
        "corpus_is_synthetic": about["corpus_is_synthetic"],
        "stamps": about["stamps"],
        "protocol": about["protocol"],
        "selection": about["selection"],
        "runs": [
            {"fold": fold, "seed": seed, "ua": about["run_ua"].get((fold, seed))}
            for fold, seed in found.runs
        ],
        "ua": {
            "workdir_mean_and_std_over_runs": about["ua"],
            "workdir_pooled": about["pooled_ua"],
            "note": "of each run alone on its own test part, not of their mean",
        },
        "answer": "the mean of the runs" if len(found.runs) > 1 else "of one run",
        "sample_rate_hz": found.spec.sample_rate_hz,
        "licence": _LICENCE.format(corpus=about["corpus"]),
        "trained_with": about["versions"] | {"git_commit": about["git_commit"]},
        "exported_with": {k: ours[k] for k in kept}
        | {"git_commit": workdir_lib.git_commit()},
    }
