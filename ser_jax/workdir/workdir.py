"""The folder of one experiment: its config, its splits, its log."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import results

# Keys that say where and how fast, never what: a run may resume with others.
MAY_CHANGE = frozenset(
    {
        "data.cache_dir",
        "data.device_share",
        "data.num_workers",
        "data.frames_on",
        "data.root",
        "data.tfds_dir",
        "train.checkpoint_epochs",
        "train.devices",
        "train.eval_batch_size",
        "train.profile_steps",
        "train.runs_per_call",
        "train.runs_per_device",
        "train.steps_per_call",
    }
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "librosa")


class Workdir:
    """Files of one experiment. Everything that counts as done is written whole."""

    def __init__(self, path, *, create: bool = True):
        """Opens the folder.

        Args:
          path: Local (`~` is the home) or `gs://`.
          create: Make it if it is not there; otherwise it must be there.

        Raises:
          InputError: It is not there or cannot be written to.
        """
        self.path = epath.Path(path).expanduser()
        if not create and not self.path.exists():
            raise InputError(
                f"Expected a trained folder, with its config.json, at {self.path}; "
                "there is none. Check --workdir."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable-{os.getpid()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"Expected a folder that can be written to at {self.path}; got: "
                f"{error}. Choose another with --workdir=..."
            ) from error

    def claim(self, config: dict, command: list[str]) -> None:
        """Writes config.json, or checks that the one there asks for the same.

        Raises:
          InputError: The folder belongs to another config; names every difference.
        """
        config = json.loads(json.dumps(config))  # as it will be read back
        if self.has_checkpoint() or self.is_complete():
            differences = _differences(self.read_config()["config"], config)
            if differences:
                raise InputError(
                    f"{self.path} holds an experiment with another config:\n  "
                    + "\n  ".join(differences)
                    + "\nTake these values back, or choose another --workdir."
                )
            return
        self.write_json(
            "config.json",
            {
                "config": config,
                "published": config["published"],
                "command": " ".join(command),
                "versions": versions(),
                "git_commit": git_commit(),
            },
        )

    def read_config(self) -> dict:
        """The content of config.json.

        Raises:
          InputError: There is none, or it is not readable.
        """
        return results.read_json(self.path / "config.json")

    def has_checkpoint(self) -> bool:
        """Whether anything was trained here."""
        folder = self.path / "checkpoints"
        return folder.exists() and any(p.name.isdigit() for p in folder.iterdir())

    def is_complete(self) -> bool:
        """Whether results.json, which is written last, is there."""
        return (self.path / "results.json").exists()

    def write_json(self, name: str, value) -> None:
        """Writes a file whole or not at all."""
        text = json.dumps(value, indent=1) + "\n"
        results.write_atomically(self.path / name, text.encode())

    def append_metrics(self, rows: list[dict]) -> None:
        """Adds an epoch's lines to metrics.jsonl."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        target = self.path / "metrics.jsonl"
        if "://" in str(target):  # object stores cannot append
            target.write_text((target.read_text() if target.exists() else "") + text)
        else:
            with open(target, "a") as file:
                file.write(text)

    def keep_metrics(self, epochs: int) -> None:
        """Forgets the lines of epochs that will be trained again."""
        target = self.path / "metrics.jsonl"
        rows = [r for r in results.read_metrics(target) if r["epoch"] <= epochs]
        rows.sort(key=lambda row: row["epoch"])  # stable: runs keep their order
        text = "".join(json.dumps(row) + "\n" for row in rows)
        results.write_atomically(target, text.encode())


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the machine they came from."""
    import jax

    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **found,
        "device": f"{jax.device_count()} x {device.device_kind}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
    }


def git_commit() -> str:
    """Commit of the code, with `-dirty` if it was changed; empty outside git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def command_line() -> list[str]:
    """The command as the user gave it."""
    return ["python", *sys.argv]


def _differences(old: dict, new: dict) -> list[str]:
    flat_old, flat_new = _flatten(old), _flatten(new)
    return [
        f"{key}: here {flat_old.get(key)!r}, asked for {flat_new.get(key)!r}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(key) != flat_new.get(key) and key not in MAY_CHANGE
    ]


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
