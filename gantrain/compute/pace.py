"""How far the program may run ahead of its device, and waits for the device that do not keep signals waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import torch

# The most steps that the device may have left to do when the program begins another one.
_AHEAD = 4
# Seconds between two looks at the device: far less than the steps that it has still to do.
_PAUSE = 0.0002


class Pace:
    """Keeps a program at most four steps ahead of its device, which takes what it is told in order, but later.

    Where the program waits for the device it asks again and again whether that is ready. A wait of torch's own, such as
    for a number, would keep every signal waiting, without end if the device waits for another process that is lost. On
    a CPU there is nothing to wait for.

    Args:
        device: the device of the steps.
        require: is called during each wait with the seconds that it has taken, and raises an error to end it.
    """

    def __init__(self, device: torch.device, require: Callable[[float], None]):
        self._device = device
        self._require = require
        self._steps: deque[torch.Event] = deque()

    def step(self) -> None:
        """Note that the program has told the device to take a step, and wait until it is close enough behind."""
        if self._device.type == "cpu":
            return
        event = torch.Event(self._device)
        event.record()
        self._steps.append(event)
        self._wait(_AHEAD)

    def settle(self) -> None:
        """Wait until the device has taken all steps."""
        self._wait(0)

    def _wait(self, ahead: int) -> None:
        while len(self._steps) > ahead:
            began = time.monotonic()
            while not self._steps[0].query():
                self._require(time.monotonic() - began)
                time.sleep(_PAUSE)
            self._steps.popleft()
