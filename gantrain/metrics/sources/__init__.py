"""Images to evaluate: those of a generator, of a data set, of files."""

from gantrain.metrics.sources.base import Generated, Images, Paths, Source
from gantrain.metrics.sources.files import Folder, open_images

__all__ = ["Folder", "Generated", "Images", "Paths", "Source", "open_images"]
