"""Image data: what there is to load, subsets, augmentation and batches.

A new data set is one module with one function under `@datasets.register`, imported here, and its name in
`engine.config.data.DatasetName`.
"""

from engine.data import characters, image_folder, torchvision_sets  # noqa: F401  (registers the data sets)
from engine.data.augment import Augmenter
from engine.data.base import Domain, ImageSet, LoadingCancelled, datasets, load_domain
from engine.data.batches import Batch, batches, steps_per_epoch

__all__ = [
    "Augmenter",
    "Batch",
    "Domain",
    "ImageSet",
    "LoadingCancelled",
    "batches",
    "datasets",
    "load_domain",
    "steps_per_epoch",
]
