"""How pictures look, wherever they are drawn.

Colours are Okabe & Ito's, which colour-blind readers can tell apart.
"""

import io

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
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, facecolor="white")
    return out.getvalue()
