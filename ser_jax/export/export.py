"""A trained workdir as one file that needs no ser_jax, and a card that describes it."""

import hashlib
import json
import os

import jax
from etils import epath

from ser_jax.errors import InputError, first_line
from ser_jax.export import check, weights
from ser_jax.export.formats import FORMATS
from ser_jax.features.spec import FeatureSpec
from ser_jax.predict import trained_model
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.workdir import files, provenance
from ser_jax.workdir.files import write_atomically

WEIGHTS = "safetensors"
_LICENCE = (
    "The program is ser_jax's (Apache-2.0). The weights were learned from {corpus}: "
    "its licence decides what they may be used for."
)


def export(
    workdir, format: str, *, run: str = "", out: str = "", longest_s: float = 10.0
) -> str:
    """Writes a file and its card, once it answers as the live model; returns a summary.

    A new process that has the file's runtime and no ser_jax answers recordings of the
    corpus, or synthetic ones where it is not here. Nothing is left behind if an answer
    differs by more than 1e-4.

    Args:
      workdir: A trained folder, local or `gs://`.
      format: A key of `formats.FORMATS`, or `safetensors`: the weights alone.
      run: `fold,seed` of the one run to take; empty: all, averaged.
      out: The file; empty: WORKDIR/export/MODEL.FORMAT. The card is OUT.json.
      longest_s: Formats of fixed size: the longest recording, in seconds.

    Raises:
      InputError: The format is unknown, its packages are missing, it cannot carry the
        model, or the file answers otherwise.
    """
    if format not in (*FORMATS, WEIGHTS):
        names = ", ".join((*FORMATS, WEIGHTS))
        raise InputError(f"--format: expected one of {names}; got {format!r}.")
    if format != WEIGHTS:
        FORMATS[format].check_packages(format)
    trained = trained_model.load(workdir, run)
    default = epath.Path(workdir) / "export" / f"{trained.provenance['model']}.{format}"
    out = _check_target(out or default)
    if format == WEIGHTS:
        content, details, line = _export_weights(trained)
    else:
        content, details, line = _export_program(trained, format, longest_s)
    digest = hashlib.sha256(content).hexdigest()
    file = {"name": out.name, "bytes": len(content), "sha256": digest}
    card = _card(trained, format) | details | {"file": file}
    text = json.dumps(card, indent=1) + "\n"
    files.make_folder(out.parent, "--out")
    write_atomically(out, content)
    write_atomically(out.parent / f"{out.name}.json", text.encode())
    return (
        f"{trained.description()}\nWrote {out} ({len(content) / 1e6:.1f} MB) and its "
        f"card {out.name}.json.\n{line}"
    )


def _check_target(out) -> epath.Path:
    # Before the work begins, which may take minutes.
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


def _export_weights(trained: TrainedModel) -> tuple[bytes, dict, str]:
    """Content of the file, its part of the card, and a line of the summary."""
    shapes = {k: list(v.shape) for k, v in weights.named_arrays(trained).items()}
    line = f"{len(shapes)} arrays; `ser_jax.export.weights.read` takes them back."
    details = {"arrays": shapes, "limits": ["weights alone, no program"]}
    return weights.to_bytes(trained), details, line


def _export_program(
    trained: TrainedModel, name: str, longest_s: float
) -> tuple[bytes, dict, str]:
    """The same of a program, once it has been checked."""
    form, model = FORMATS[name], trained.provenance["model"]
    _check_model(trained, name)
    rate_hz, window_s = trained.spec.sample_rate_hz, trained.config.segment.window_s
    if form.is_fixed and not longest_s >= window_s:
        raise InputError(
            f"--longest: expected at least the model's window, {window_s:g} s; got "
            f"{longest_s:g} s."
        )
    longest = round(longest_s * rate_hz) if form.is_fixed else 0
    with jax.default_device(jax.devices("cpu")[0]):
        try:
            content = form.write(trained, longest)
        except ImportError:  # a broken installation, not the model's fault
            raise
        except Exception as error:  # converters raise many kinds
            raise InputError(
                f"--format={name}: expected a model that it can carry; {model} "
                f"cannot be converted: {first_line(error)}. Use another format."
            ) from error
        checked = check.check(Recognizer(trained), form, content, longest)
    limits, shape = list(form.limits), ["B", "N"]
    if form.is_fixed:
        limits.append(f"one recording of at most {longest_s:g} s; cut longer ones")
        shape = [1, longest]
    line = (
        f"Loaded back without ser_jax by {checked['runtime']}: {checked['answers']} "
        f"answers for {checked['recordings']} differ from the live model's by "
        f"{checked['largest_difference']:.1e} at most."
    )
    details = _interface(trained, shape) | {"limits": limits, "checked": checked}
    return content, details, line


def _interface(trained: TrainedModel, shape: list) -> dict:
    """Names, types and meanings of inputs [B, N] and outputs."""

    def array(dtype: str, shape: list, meaning: str) -> dict:
        return {"dtype": dtype, "shape": shape, "meaning": meaning}

    batch, rate_hz = shape[0], trained.spec.sample_rate_hz
    samples = f"mono, in [-1, 1], {rate_hz} Hz; padded with anything"
    lengths = array("int32", [batch], "samples of each recording, 1 ... N")
    outputs = [batch, len(trained.classes)], "in the order of `classes`"
    return {
        "inputs": {"samples": array("float32", shape, samples), "lengths": lengths},
        "outputs": {"probabilities": array("float32", *outputs)},
    }


def _check_model(trained: TrainedModel, name: str) -> None:
    """Refuses models whose answer depends on more than the samples."""
    model, config = trained.provenance["model"], trained.config
    if reads := set(trained.input_shapes) - {"frames", "frame_mask"}:
        also = ", ".join(sorted(reads))
        problem = f"a model that reads sound alone; {model} also reads {also}"
    elif config.data.pad == "before_norm" and config.segment.rule == "whole":
        rules = "segment.rule=whole and data.pad=before_norm"
        problem = (
            f"answers that do not depend on padding; {model} with {rules} does depend"
        )
    elif not isinstance(trained.spec, FeatureSpec) and FORMATS[name].is_fixed:
        problem = f"a model without a pretrained encoder, which {name} cannot carry yet"
    else:
        return
    raise InputError(
        f"--format={name}: expected {problem}. Export its weights with "
        f"--format={WEIGHTS}."
    )


def _card(trained: TrainedModel, name: str) -> dict:
    """The part of the card that every format has."""
    source = trained.provenance
    copied = ("model", "corpus", "corpus_is_synthetic", "stamps", "protocol")
    versions = provenance.versions()
    writers = ("python", "jax", "jaxlib", "flax", "numpy")
    return {
        "format": name,
        "classes": list(trained.classes),
        **{key: source[key] for key in (*copied, "selection")},
        "runs": [
            {"fold": fold, "seed": seed, "ua": source["run_ua"].get((fold, seed))}
            for fold, seed in trained.runs
        ],
        "ua": {
            "workdir_mean_and_std_over_runs": source["ua"],
            "workdir_pooled": source["pooled_ua"],
            "note": "of each run alone on its own test part, not of their mean",
        },
        "answer": "the mean of the runs" if len(trained.runs) > 1 else "of one run",
        "sample_rate_hz": trained.spec.sample_rate_hz,
        "licence": _LICENCE.format(corpus=source["corpus"]),
        "trained_with": source["versions"] | {"git_commit": source["git_commit"]},
        "exported_with": {key: versions[key] for key in writers}
        | {"git_commit": provenance.git_commit()},
    }
