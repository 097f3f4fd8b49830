"""The data sets: one file for each of them, or for each family of them."""

__all__ = [
    "array_files",
    "celeba",
    "digits",
    "gaussian_ring",
    "glue",
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
    "tokens",
    "torchvision_sets",
]
