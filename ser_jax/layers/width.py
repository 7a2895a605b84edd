"""How wide a layer is when a whole system is shrunk evenly (`model.width`)."""


def scaled(count: int, width: float) -> int:
    """Channels or features at a width: `count * width`, rounded, at least one."""
    return max(1, round(count * width))
