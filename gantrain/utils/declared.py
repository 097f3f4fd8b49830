"""What an object says of itself, which its base classes cannot say for it."""

from __future__ import annotations


def declares(part: object, name: str) -> bool:
    """Whether an object, or its own class, has a true attribute ``name``. What base classes say does not count.

    A base class that says "no sample touches another" knows nothing of a subclass with another ``forward``.

    Examples:
        >>> class Base:
        ...     independent_samples = True
        >>> class Derived(Base):
        ...     pass
        >>> declares(Base(), "independent_samples"), declares(Derived(), "independent_samples")
        (True, False)
    """
    own = name in vars(type(part)) or name in getattr(part, "__dict__", {})
    return own and bool(getattr(part, name))
