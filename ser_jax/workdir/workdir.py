"""The folder of one training: who it belongs to, and how far it has come."""

import json

from ser_jax import bucket
from ser_jax.errors import InputError
from ser_jax.workdir import config as config_files
from ser_jax.workdir import ensemble, files, provenance, staging, sweep

# Keys of what is read from elsewhere, by their group.
_MAY_MOVE = {"data": ("manifest", "root", "corpora"), "encoder": ("weights",)}


class Workdir:
    """One training's folder; its files are named in `workdir.files`."""

    def __init__(self, path, *, create: bool = True):
        """Opens the folder, local or in a bucket; without `create` it must exist.

        Raises:
          InputError: It is not there or cannot be written to.
        """
        self.path = files.resolve(path)
        bucket.connect(str(self.path))
        if not create and not self.path.exists():
            raise InputError(
                f"Expected a trained folder, with its config.json, at {self.path}; "
                "there is none. Check --workdir."
            )
        files.make_folder(self.path, "--workdir")

    def claim(self, config: dict) -> None:
        """Writes config.json, or checks that the one there asks for the same.

        Raises:
          InputError: The folder belongs to another config, and it names every
            difference, or to an ensemble.
        """
        ensemble.refuse(self.path)
        config = json.loads(json.dumps(config))  # as it will be read back
        if not (self.has_checkpoint() or self.is_complete()):
            content = {
                "config": config,
                "published": config["published"],
                "command": provenance.command(),
                "versions": provenance.versions(),
                "git_commit": provenance.git_commit(),
            }
            files.write_json(self.path / files.CONFIG, content)
            return
        stored = files.read_json(self.path / files.CONFIG)
        if lines := config_files.differences(stored["config"], config):
            raise InputError(
                f"{self.path} holds an experiment with another config:\n  "
                + "\n  ".join(lines)
                + "\nRestore these values, or choose another --workdir."
            )
        moved = False
        for group, keys in _MAY_MOVE.items():
            there = stored["config"].get(group, {})
            now = {key: config[group][key] for key in keys} if there else {}
            moved |= there != there | now
            there.update(now)
        if moved:
            files.write_json(self.path / files.CONFIG, stored)

    def read_config(self) -> dict:
        """Plain values of config.json; InputError if missing, damaged, an ensemble's."""
        ensemble.refuse(self.path)
        return files.read_json(self.path / files.CONFIG)["config"]

    def read_config_of_corpus(self) -> dict:
        """As `read_config`; of an ensemble a member's, whose corpus is the others', too.

        Raises InputError if no member has one, or their splits are not known.
        """
        if not (members := ensemble.members(self.path)):
            return self.read_config()
        configs = [one["config"] for one in members if one["config"]]
        if not configs or not (self.path / files.SPLITS).exists():
            raise InputError(
                f"Expected config.json and splits.json in the members of {self.path}; got "
                f"none in some of {', '.join(one['name'] for one in members)}. Name a "
                "workdir that has them."
            )
        return configs[0]

    def settle_splits(self, splits: dict) -> None:
        """Writes splits.json; refuses others than those that were trained on."""
        if self.has_checkpoint():
            self.check_splits(splits)
        files.write_json(self.path / files.SPLITS, splits)

    def check_splits(self, splits: dict) -> None:
        """Raises InputError if the corpus or the code now gives others, or other sounds.

        Older workdirs do not say what was heard.
        """
        path = self.path / files.SPLITS
        stored = files.read_json(path) if path.exists() else splits
        sounds = {"sounds": splits["sounds"]}
        if sounds | stored == splits:
            return
        what = "recordings" if stored | sounds == splits else "splits and labels"
        raise InputError(
            f"Expected the {what} of {path}; the corpus now gives others, so test "
            "utterances might have been trained on. Restore the corpus (evaluate and "
            "explain: or set --data=...), or train again in a new --workdir. Older workdirs "
            "need --config.data.duplicates=ignore and --config.data.keep_silent=True."
        )

    def has_checkpoint(self) -> bool:
        """Whether anything was trained here."""
        if sweep.has_begun(self.path):
            return True
        return bool(staging.steps(self.path / files.CHECKPOINTS))

    def is_complete(self) -> bool:
        """Whether results.json, which is written last, is there."""
        return (self.path / files.RESULTS).exists()
