"""Speech emotion recognition in JAX and Flax: attention systems under honest protocols.

Axes, in this one place: `R` runs (folds x seeds), `B` batch, `T` frames, `F` frequency
bands, `C` channels (static, delta, delta-delta), `D` features, `N` queries, `H`, `W`
rows and columns of a memory grid, `V` augmented copies or value features, `L` tokens,
`K` classes. Batch first, channels last. Sizes carry their unit: `_hz`, `_s`,
`_frames`, `_steps`.
"""
