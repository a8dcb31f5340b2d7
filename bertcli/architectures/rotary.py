"""What config.json says of rotary positions (Su et al.: RoFormer, 2021, arXiv 2104.09864)."""

from __future__ import annotations

from bertcli.architectures.config import Config


def theta(config: Config, default: float) -> tuple[float, str | None]:
    """The base of the angles, and why the positions are not the ordinary ones, None where they are.

    It is in `rope_parameters`, or in `rope_scaling` and `rope_theta` where an older transformers wrote them.
    """
    found = config.section("rope_scaling" if config.has("rope_scaling") else "rope_parameters")
    base = found.number("rope_theta", config.number("rope_theta", default))
    return base, found.fault or unusual(found) or unusual(config)


def unusual(parameters: Config) -> str | None:
    """What is not described here: angles that are scaled, or only a part of each head turned."""
    kind = parameters.text("rope_type", parameters.text("type", "default"))
    if kind != "default":
        return f"its rotary positions are scaled ({kind})"
    part = parameters.number("partial_rotary_factor", 1.0)
    return None if part == 1.0 else "its rotary positions turn a part of each head"
