"""A `TrainedModel` with random weights, made in memory: tests need no training."""

import jax
import numpy as np
from flax import nnx

from ser_jax.features import segments
from ser_jax.features.spec import RECIPES
from ser_jax.models import MODELS
from ser_jax.predict.trained_model import TrainedModel

CLASSES = ("calm", "cross", "glad")


def untrained(config, *, runs: int = 2, seed: int = 0) -> TrainedModel:
    """Every weight and statistic is drawn anew for each run."""
    spec = RECIPES[config.data.recipe]
    frames = segments.window_frames(spec, config.segment.window_s)
    shape = (frames, spec.num_bands, config.data.channels)

    @jax.jit  # operation by operation, a model compiles dozens of programs
    def create():
        model = MODELS[config.model.name](
            config.model,
            input_shapes={"frames": shape},
            num_classes=len(CLASSES),
            rngs=nnx.Rngs(seed),
        )
        return nnx.split(model, nnx.Param, ...)

    graphdef, params, stats = create()
    rng = np.random.default_rng(seed)

    def drawn(scale):
        return lambda x: (
            np.asarray(x)
            + scale * rng.standard_normal((runs, *x.shape)).astype(np.float32)
        )

    names = tuple((f"fold{r}", r) for r in range(runs))
    return TrainedModel(
        config=config,
        spec=spec,
        classes=CLASSES,
        input_shapes={"frames": shape},
        runs=names,
        folds=tuple({"name": name, "seed": number} for name, number in names),
        graphdef=graphdef,
        weights={
            "params": jax.tree.map(drawn(0.1), params),
            "stats": jax.tree.map(drawn(0.1), stats),  # variances start at 1
        },
        mean=rng.uniform(-3, -1, (runs, *shape[1:])).astype(np.float32),
        std=rng.uniform(0.5, 2, (runs, *shape[1:])).astype(np.float32),
        provenance={
            "workdir": "nowhere",
            "model": config.model.name,
            "corpus": "noise",
            "corpus_is_synthetic": True,
            "protocol": config.protocol.to_dict(),
            "selection": "val",
            "stamps": ["synthetic corpus"],
            "ua": None,
            "pooled_ua": None,
            "run_ua": {},
            "versions": {"jax": jax.__version__},
            "git_commit": "none",
        },
    )
