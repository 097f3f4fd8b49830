"""The data sets, a file each or a family each."""

__all__ = [
    "celeba",
    "digits",
    "gaussian_ring",
    "image_files",
    "image_set",
    "imagenet",
    "label_noise",
    "lsun",
    "published",
    "splits",
    "text",
    "torchvision_sets",
]
