"""How many examples a property is tried with."""

from hypothesis import settings


def at_least(count: int) -> int:
    """`count` examples, and ten times as many under the profile `fuzz`."""
    return count * (10 if settings.get_current_profile_name() == "fuzz" else 1)
