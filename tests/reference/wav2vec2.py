"""wav2vec 2.0, HuBERT and WavLM of one utterance, slowly, from a hub file's tensors."""

import math

import numpy as np

erf = np.vectorize(math.erf)


def states(tensors, config, samples):
    """States 0 to n [n + 1, T, D] in float64; `config`: as in `config.json`."""
    tensors = {name: np.asarray(x, np.float64) for name, x in tensors.items()}
    stable, eps = config["do_stable_layer_norm"], config["layer_norm_eps"]

    def norm(x, name, eps=eps):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return normalize(x, -1, eps) * weight + bias

    def linear(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    x = front(tensors, config, samples)
    if config.get("feat_proj_layer_norm", True):
        x = norm(x, "feature_projection.layer_norm")
    x = linear(x, "feature_projection.projection")
    x = x + positions(tensors, config, x)
    if not stable:
        x = norm(x, "encoder.layer_norm")
    found = [x]
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layers.{i}"
        y = norm(x, f"{name}.layer_norm") if stable else x
        x = x + attention(tensors, config, y, f"{name}.attention", linear)
        y = norm(x, f"{name}.final_layer_norm" if stable else f"{name}.layer_norm")
        x = x if stable else y
        y = gelu(linear(y, f"{name}.feed_forward.intermediate_dense"))
        x = x + linear(y, f"{name}.feed_forward.output_dense")
        if not stable:
            x = norm(x, f"{name}.final_layer_norm")
        found.append(x)
    if stable:
        found[-1] = norm(x, "encoder.layer_norm")
    return np.stack(found)


def front(tensors, config, samples):
    """[samples] -> [T, C]."""
    x = np.asarray(samples, np.float64)[:, None]
    for i, stride in enumerate(config["conv_stride"]):
        name = f"feature_extractor.conv_layers.{i}"
        x = conv(x, tensors[f"{name}.conv.weight"], stride)
        if config["conv_bias"]:
            x = x + tensors[f"{name}.conv.bias"]
        over_time = config["feat_extract_norm"] == "group"
        if i == 0 or not over_time:
            x = normalize(x, 0 if over_time else -1, 1e-5)
            weight, bias = (
                tensors[f"{name}.layer_norm.{kind}"] for kind in ("weight", "bias")
            )
            x = x * weight + bias
        x = gelu(x)
    return x


def positions(tensors, config, x):
    """What is added to the features [T, D]."""
    size, groups = (
        config[key]
        for key in ("num_conv_pos_embeddings", "num_conv_pos_embedding_groups")
    )
    name = "encoder.pos_conv_embed"
    if config.get("conv_pos_batch_norm", False):
        weight = tensors[f"{name}.conv.weight"]
        mean, var, scale, bias = (
            tensors[f"{name}.batch_norm.{kind}"]
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    else:
        weight = np.array(tensors[f"{name}.conv.weight_v"])
        for k in range(size):
            length = tensors[f"{name}.conv.weight_g"][0, 0, k]
            weight[:, :, k] *= length / np.sqrt((weight[:, :, k] ** 2).sum())
    padded = np.pad(x, ((size // 2, size // 2), (0, 0)))
    parts = [
        conv(part, own, 1)
        for part, own in zip(
            np.split(padded, groups, axis=1),
            np.split(weight, groups, axis=0),
            strict=True,
        )
    ]
    return gelu(np.concatenate(parts, axis=1)[: len(x)] + tensors[f"{name}.conv.bias"])


def attention(tensors, config, x, name, linear):
    """[T, D] -> [T, D]."""
    length, width = x.shape
    heads = config["num_attention_heads"]
    size = width // heads
    query, key, value = (linear(x, f"{name}.{part}_proj") for part in "qkv")
    results = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        logits = query[:, own] @ key[:, own].T / np.sqrt(size)
        if config["model_type"] == "wavlm":
            table = tensors["encoder.layers.0.attention.rel_attn_embed.weight"]
            parts = linear(x[:, own], f"{name}.gru_rel_pos_linear")
            first, second = (
                1 / (1 + np.exp(-parts[:, part].sum(axis=1)))
                for part in (slice(0, 4), slice(4, 8))
            )
            scale = tensors[f"{name}.gru_rel_pos_const"][0, head, 0, 0]
            update = 1 - first
            for i in range(length):
                for j in range(length):
                    bias = table[bucket(j - i, config), head]
                    reset = scale * second[i] * bias
                    logits[i, j] += bias + update[i] * bias + first[i] * reset
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        results.append(weights @ value[:, own])
    return linear(np.concatenate(results, axis=1), f"{name}.out_proj")


def bucket(distance, config):
    """Of a key `distance` steps behind the query."""
    half = config["num_buckets"] // 2
    exact, size = half // 2, abs(distance)
    if size >= exact:
        octaves = math.log(size / exact) / math.log(
            config["max_bucket_distance"] / exact
        )
        size = min(half - 1, exact + int(octaves * (half - exact)))
    return size + (half if distance > 0 else 0)


def conv(x, weight, stride):
    """[T, C] with [D, C, k], without padding."""
    size = weight.shape[2]
    starts = range(0, len(x) - size + 1, stride)
    return np.stack([np.einsum("kc,dck->d", x[i : i + size], weight) for i in starts])


def normalize(x, axis, eps):
    mean, var = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(var + eps)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2
