"""Which layer of a pretrained encoder knows emotion: UA by layer, a table and a picture.

Every layer alone, with `configs/encoder.py:emodb_layer`'s recipe: its frames' mean and
deviation over time and one dense layer, ten folds of one speaker, the last weights. The
test part is looked at layer by layer, so the best one is no result: a layer is chosen
by validation (docs/encoders.md).

    python -m benchmarks.encoder_layers --root=EMODB [--weights=whisper-tiny.en,whisper-base]
      [--out=runs/encoder_layers] [--picture=docs/encoders.png]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from configs import encoder
from ser_jax import clock, figure_style
from ser_jax.encoders.spec import read_spec
from ser_jax.training import loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of EMO-DB")
    parser.add_argument("--weights", default="whisper-tiny.en,whisper-base")
    parser.add_argument("--out", default="runs/encoder_layers", help="workdirs")
    parser.add_argument("--picture", default="", help="PNG")
    options = parser.parse_args()
    curves = {}
    for weights in options.weights.split(","):
        curves[Path(weights).name] = curve = []
        for layer in range(read_spec(weights).num_layers + 1):
            pooled = _train(weights, layer, options)["averaged"]
            curve.append(pooled)
            low, high = pooled["ua_interval"]
            print(
                f"{Path(weights).name} layer {layer}: pooled UA {pooled['ua']:.1%} "
                f"({low:.1%} to {high:.1%})",
                flush=True,
            )
    if options.picture:
        Path(options.picture).write_bytes(draw(curves))


def _train(weights: str, layer: int, options) -> dict:
    config = encoder.get_config("emodb_layer")
    config.data.root = options.root
    config.encoder.weights, config.encoder.layers = weights, (layer,)
    workdir = Path(options.out) / f"{Path(weights).name}-{layer}"
    with clock.running():
        return loop.train_and_evaluate(config, str(workdir))


def draw(curves: dict[str, list[dict]]) -> bytes:
    """A PNG: pooled UA with its interval over speakers, layer by layer."""
    with plt.rc_context(figure_style.RC):
        figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
        colors = (figure_style.BLUE, figure_style.VERMILION, figure_style.GREY)
        for (name, curve), color in zip(curves.items(), colors, strict=False):
            ua = [100 * pooled["ua"] for pooled in curve]
            ends = [[100 * x for x in pooled["ua_interval"]] for pooled in curve]
            low, high = zip(*ends, strict=True)
            axes.fill_between(range(len(ua)), low, high, color=color, alpha=0.15, lw=0)
            axes.plot(ua, "o-", color=color, label=name)
        axes.set_xlabel("hidden state (0 enters the first layer)")
        axes.set_ylabel("pooled UA %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure_style.png(figure)


if __name__ == "__main__":
    main()
