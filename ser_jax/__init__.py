"""Speech emotion recognition in JAX and Flax: attention systems under honest protocols.

Axes, in this one place: `R` runs (folds x seeds), `U` utterances, `S` segments, `B`
batch, `T` frames, `F` frequency bands, `C` channels (static, delta, delta-delta), `M`
filters, `D` features, `N` queries, `H`, `W` rows and columns of a memory grid, `V`
augmented copies, value features or words of a vocabulary, `L` tokens, `E` numbers of a
word vector, `X` of a speaker embedding, `K` classes. Batch first, channels last. Sizes
carry their unit: `_hz`, `_s`, `_frames`, `_steps`.
"""
