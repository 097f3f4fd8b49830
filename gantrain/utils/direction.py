"""Which of two values is the better one."""

from typing import Literal

Direction = Literal["lower", "higher"]
"""The values that are better: lower or higher ones."""
