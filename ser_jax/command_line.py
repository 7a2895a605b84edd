"""The config of a command line, or what is wrong with it, in one line."""

import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ser_jax.errors import InputError


def flag_fault(argv: Sequence[str], error: Exception) -> str:
    """What absl or ml_collections say of a flag, without their own words around it."""
    if isinstance(error, (AttributeError, KeyError)):
        while error.args and isinstance(error.args[0], KeyError):
            error = error.args[0]  # how ml_collections says that a key is unknown
        text = " ".join(str(error.args[0] if error.args else error).splitlines())
        return f"Expected a config key of configs/base.py; got {text}"
    # What ml_collections could not read comes as a whole traceback; its end counts.
    problem = (str(error).strip() or type(error).__name__).splitlines()[-1]
    files = [word for word in argv if word.startswith("-") and Path(word).exists()]
    return problem + (f"; the file is ./{files[0]}, or comes after --" if files else "")


def config_fault(argv: Sequence[str], error: Exception) -> str:
    """Where the config file itself raised, and what; empty if it did not."""
    after = [word.removeprefix("--config=") for word in argv if "--config=" in word[:9]]
    after += [argv[at + 1] for at, word in enumerate(argv[:-1]) if word == "--config"]
    configs = {os.path.abspath(word.partition(":")[0]) for word in after}
    # ml_collections gives a ValueError as the whole traceback in another one's text.
    shown = "".join(traceback.format_exception(error))
    for file, line in reversed(re.findall(r'File "([^"]+)", line (\d+)', shown)):
        if os.path.abspath(file) in configs:
            text = str(error).strip().splitlines() or [""]
            kind = "" if len(text) > 1 else f"{type(error).__name__}: "
            return f"{file}, line {line}: {kind}{text[-1]}"
    if isinstance(error, SyntaxError):  # of bytes that are no text
        return f"{min(configs)}, line {error.lineno or 1}: SyntaxError: {error}"
    if "has no attribute 'get_config'" in str(error):
        return f"{min(configs)}: expected a function get_config(); got none"
    return ""


def config_of(values) -> ConfigDict:
    """The config of parsed flags; InputError if there is none to be had."""
    if not values["config"].present:
        raise InputError(
            "Expected --config=configs/area_attn.py (or :demo to try it without a "
            "corpus); got none."
        )
    config = values.config
    try:
        getattr(config, "keys", None)
    except OSError as error:  # the file was not found when the flag was parsed
        raise InputError(f"--config: {str(error).splitlines()[-1].strip()}") from error
    if not isinstance(config, ConfigDict):
        got = type(config).__name__
        raise InputError(
            f"--config: expected get_config() to return a ConfigDict; got {got}."
        )
    return config
