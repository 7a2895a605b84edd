"""Layers to reuse: pure functions first, Flax NNX modules on top.

What holds for all of them, and is not repeated:

- A mask is True where a step, column or cell is valid. What stands in the padding does
  not matter, not even NaN; results there are 0, and padding a batch further changes
  nothing.
- `dtype` is that of the computation; parameters, running statistics and softmaxes are
  float32. `rngs` needs the stream `params` to make a module.
- With `sow_maps` set (`model.set_attributes(sow_maps=True)`) and called under
  `nnx.capture(nnx.Intermediate)`, a module hands out its attention. What is not
  captured costs nothing under `jit`.
"""
