"""The data sets: one file for each of them, or for each family of them."""

__all__ = [
    "array_files",
    "celeba",
    "digits",
    "gaussian_ring",
    "gaussian_ring",
    "huggingface",
    "image_files",
    "image_geometry",
    "image_set",
    "imagenet",
    "label_noise",
    "lsun",
    "oxford",
    "published",
    "splits",
    "text",
    "torchvision_sets",
]
