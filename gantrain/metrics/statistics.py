"""What statistics of images have in common: only those attributes exist that some metric needs."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

from gantrain.metrics.extractors.base import Extractor


class Wanted(NamedTuple):
    """An extractor, and the names of the statistics that metrics need of its outputs and of the images."""

    extractor: Extractor
    needed: Set[str]


class Statistics:
    """Says of an annotated attribute that no metric needs, and that was not measured for this reason, how to get it."""

    def __getattr__(self, name: str) -> Any:
        hint = "; the metric's attribute needs must name it" if name in type(self).__annotations__ else ""
        raise AttributeError(f"{type(self).__name__} has no {name}{hint}")
