"""The data of games that have none."""

from __future__ import annotations

import torch

from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec


class NoData(DataSet):
    """No data: its batches hold random numbers only. Games that learn from no data have it by themselves."""

    def __init__(self) -> None:
        super().__init__(torch.empty(1, 0), None, DataSpec((0,)))
