"""The systems: one paper, one file, one name."""

from ser_jax.models.area_attn import AreaAttn

MODELS = {"area_attn": AreaAttn}
