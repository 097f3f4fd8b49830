"""Your own data set: a map-style Dataset of torch, whose items are images of Pillow's and labels.

gantrain train configs/quickstart.yaml data.target=examples.data_set:Stripes evaluate=null run.name=stripes

In a config: data: {target: examples.data_set:Stripes, count: 2000, limit: 1000}. An item may also be the image alone, a
tensor or an array, or a mapping with the keys image and label.
"""

import numpy as np
from PIL import Image
from torch.utils.data import Dataset


class Stripes(Dataset):
    """Grey images with stripes, which are horizontal in the first class and vertical in the second.

    Args:
        count: the number of images.
        size: the height and width in pixels.
    """

    classes = ("horizontal", "vertical")

    def __init__(self, count: int = 1000, size: int = 8):
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        # The same item whenever it is read: random changes are the augmentations of the game.
        numbers = np.random.default_rng(i)
        wave = np.sin(np.arange(self.size) * numbers.uniform(0.5, 1.5) + numbers.uniform(0, 6))
        rows = np.tile(128 + 127 * wave, (self.size, 1)).astype(np.uint8)
        label = i % 2
        return Image.fromarray(rows if label else rows.T), label
