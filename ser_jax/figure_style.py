"""How pictures look, wherever they are drawn.

Colours are Okabe & Ito's, which colour-blind readers can tell apart.
"""

import io
import warnings

BLUE, VERMILION, INK, GREY = "#0072B2", "#D55E00", "#222222", "#666666"
DPI = 150
RC = {  # for `matplotlib.rc_context`
    "text.parse_math": False,  # a `$` in a name is a `$`
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "xtick.color": INK,
    "ytick.color": INK,
}


def png(figure) -> bytes:
    """A matplotlib figure as a PNG file; call it within `rc_context(RC)`."""
    return saved(figure, format="png", dpi=DPI, facecolor="white")


def saved(figure, **options) -> bytes:
    """What `figure.savefig` writes with these options."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        # A box stands for what no font has; a page's font may have what ours has not.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(out, **options)
    return out.getvalue()
