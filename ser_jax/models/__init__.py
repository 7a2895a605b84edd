"""The systems: one paper, one file, one name; their contract is in `model.py`."""

from ser_jax.models.acrnn import Acrnn
from ser_jax.models.adrnn import Adrnn
from ser_jax.models.adsrnn import Adsrnn
from ser_jax.models.afcn import Afcn
from ser_jax.models.area_attn import AreaAttn
from ser_jax.models.asrnn import Asrnn
from ser_jax.models.cnn3d_attn import Cnn3dAttn
from ser_jax.models.encoder import EncoderHead
from ser_jax.models.head_fusion import HeadFusion
from ser_jax.models.model import Model
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
