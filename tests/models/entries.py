"""What the family test needs to know of every model, in one place."""

import dataclasses
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from configs import (
    acrnn,
    adrnn,
    adsrnn,
    afcn,
    area_attn,
    asrnn,
    cnn3d_attn,
    encoder,
    head_fusion,
    mscnn_spu,
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model in small and its published size.

    Attributes:
        config: makes the `model` group at test size: `small(configs.<name>, width=...)`.
        input_shapes: small; all sizes of one entry differ from each other. `frames`:
            (T, F, C); where the model reads them `words`: (L, E) and
            `speaker_embedding`: (X,).
        full_shapes: the same at the published size.
        num_params: of the default config at `full_shapes` with 4 classes.
        small_params: of `config()` at `input_shapes` with 3 classes.
        free_length: in evaluation the model accepts any number of frames and words,
            and padding appended to a batch changes nothing.
        thins: whether `width` thins its layers; not those as wide as their input.
        no_gradient: regular expressions of parameter paths ("convs/0/conv/bias") that
            get no gradient by construction: frozen ones. A bias before a batch norm
            needs no mention.
    """

    config: Callable[[], ConfigDict]
    input_shapes: Mapping[str, tuple[int, ...]]
    full_shapes: Mapping[str, tuple[int, ...]]
    num_params: int
    small_params: int
    free_length: bool
    thins: bool = True
    no_gradient: tuple[str, ...] = ()


def small(module, **changes) -> Callable[[], ConfigDict]:
    """The default `model` group of a config file with other values."""

    def config() -> ConfigDict:
        model = module.get_config().model
        model.update(changes)
        return model

    return config


ENTRIES: dict[str, Entry] = {
    "area_attn": Entry(
        config=small(area_attn, width=0.1, max_area=(1, 2)),
        input_shapes={"frames": (21, 10, 2)},
        full_shapes={"frames": (81, 128, 1)},
        num_params=503_108 + 3 * 80 * 80,
        small_params=1_908,
        free_length=False,
    ),
    "acrnn": Entry(
        config=small(acrnn, width=0.03, convs=3),
        input_shapes={"frames": (23, 10, 3)},
        full_shapes={"frames": (300, 40, 3)},
        num_params=9_299_396,
        small_params=3_518,
        free_length=True,
    ),
    "cnn3d_attn": Entry(
        config=small(cnn3d_attn, width=0.03, convs=3),
        input_shapes={"frames": (19, 10, 3)},
        full_shapes={"frames": (300, 40, 3)},
        num_params=8_958_212,
        small_params=3_230,
        free_length=True,
    ),
    "mscnn_spu": Entry(
        config=small(mscnn_spu, width=0.03),
        input_shapes={
            "frames": (17, 5, 3),
            "words": (7, 6),
            "speaker_embedding": (2,),
        },
        full_shapes={"frames": (750, 32, 3), "words": (128, 300)},
        num_params=3_446_020,
        small_params=4_739,
        free_length=True,
    ),
    "head_fusion": Entry(
        config=small(head_fusion, width=0.12),
        input_shapes={"frames": (23, 10, 3)},
        full_shapes={"frames": (63, 26, 1)},
        num_params=155_636,
        small_params=2_721,
        free_length=True,
    ),
    "adrnn": Entry(
        config=small(adrnn, width=0.03),
        input_shapes={"frames": (23, 10, 3)},
        full_shapes={"frames": (300, 40, 3)},
        num_params=6_958_022,
        small_params=4_150,
        free_length=True,
    ),
    "asrnn": Entry(
        config=small(asrnn, width=0.03),
        input_shapes={"frames": (41, 10, 3)},
        full_shapes={"frames": (300, 40, 3)},
        num_params=3_668_934,
        small_params=2_306,
        free_length=True,
        no_gradient=("conv1/conv/bias",),  # before the batch norm `norm1`
    ),
    "adsrnn": Entry(
        config=small(adsrnn, width=0.03, window_steps=7),
        input_shapes={"frames": (21, 10, 3)},
        full_shapes={"frames": (300, 40, 3)},
        num_params=9_153_704,
        small_params=3_661,
        free_length=False,
    ),
    "afcn": Entry(
        config=small(afcn, width=0.03),
        input_shapes={"frames": (131, 65, 2)},
        full_shapes={"frames": (300, 200, 1)},
        # Of the trunk 2,469,696 less two of conv1's three input channels.
        num_params=2_469_696 - 2 * 121 * 64 + (256 + 1 + 1) * 256 + 257 * 4,
        small_params=3_015,
        free_length=True,
    ),
    "encoder": Entry(
        config=small(
            encoder, pooling="area", attention_size=4, queries=3, max_area=(2, 2)
        ),
        input_shapes={"frames": (13, 5, 6)},
        full_shapes={"frames": (300, 7, 512)},
        num_params=7 + 4 * (2 * 512 + 1),
        small_params=160,
        free_length=True,
        thins=False,
    ),
}
