"""Options that are named modes; imports nothing, so that functions need no Flax."""


def check_mode(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises a ValueError that names the choices, unless `value` is one of them."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {allowed}, got {value!r}")
