"""The systems: one paper, one file, one name; their contract is in `model.py`."""

from flax import nnx

from ser_jax.encoders import tuned
from ser_jax.encoders.tuning import Pretrained as Pretrained
from ser_jax.models.acrnn import Acrnn
from ser_jax.models.adrnn import Adrnn
from ser_jax.models.adsrnn import Adsrnn
from ser_jax.models.afcn import Afcn
from ser_jax.models.area_attn import AreaAttn
from ser_jax.models.asrnn import Asrnn
from ser_jax.models.cnn3d_attn import Cnn3dAttn
from ser_jax.models.encoder import ENCODER_PATH as ENCODER_PATH
from ser_jax.models.encoder import EncoderHead
from ser_jax.models.head_fusion import HeadFusion
from ser_jax.models.model import Model, Shapes
from ser_jax.models.mscnn_spu import MscnnSpu

MODELS: dict[str, type[Model]] = {
    "acrnn": Acrnn,
    "adrnn": Adrnn,
    "adsrnn": Adsrnn,
    "afcn": Afcn,
    "area_attn": AreaAttn,
    "asrnn": Asrnn,
    "cnn3d_attn": Cnn3dAttn,
    "encoder": EncoderHead,
    "head_fusion": HeadFusion,
    "mscnn_spu": MscnnSpu,
}


def make(
    config,
    *,
    input_shapes: Shapes,
    num_classes: int,
    rngs: nnx.Rngs,
    weights=None,
) -> nnx.Module:
    """The model of a whole config; see `Model` for what it takes and raises.

    Where `config.encoder.tuning` says so it holds a pretrained encoder. What of that
    does not learn are variables of the type `Pretrained`.

    Args:
      config: The groups `model` and `encoder` are read.
      input_shapes: As for `Model`.
      num_classes: K.
      rngs: Stream `params`.
      weights: An `nnx.State` of the encoder, from `encoder_weights`; None: zeros, for
        shapes alone.
    """
    options = {}
    if config.encoder.tuning != "frozen":
        encoder = tuned.make(config.encoder, weights=weights, rngs=rngs)
        options["encoder"] = encoder
    shapes = {"input_shapes": input_shapes, "num_classes": num_classes}
    return MODELS[config.model.name](config.model, **shapes, rngs=rngs, **options)


def encoder_weights(config):
    """All weights of the encoder that models hold, an `nnx.State`; empty if none."""
    return tuned.pretrained(config.encoder)


def held_weights(config, held):
    """The `Pretrained` variables of a model with their values, read from their file.

    Args:
      config: As for `make`.
      held: Those variables, with shapes or values.
    """
    if not held:
        return held
    loaded = dict(nnx.to_flat_state(encoder_weights(config)))
    prefix = len(ENCODER_PATH)
    return nnx.from_flat_state(
        (path, variable.replace(loaded[path[prefix:]].get_value()))
        for path, variable in nnx.to_flat_state(held)
    )
