"""Random changes of training images, on their device and for a whole batch at once.

Equal in distribution to torchvision's RandomCrop(padding), RandomHorizontalFlip and RandomRotation on PIL images,
in that order. All three only move pixels, so their combination is one lookup per output pixel.

Shapes: B images of 3 channels and S x S pixels.
"""

from __future__ import annotations

import torch

from engine.config import AugmentationConfig


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 images 0..255 into float32 in [0, 1] (value / 255)."""
    return images.to(torch.float32).div_(255)


class Augmenter:
    """Crop, flip and rotate the images of a batch at random; see `AugmentationConfig` for what is on."""

    def __init__(self, config: AugmentationConfig, image_size: int) -> None:
        """Prepare for images of `image_size` x `image_size` pixels."""
        self.config = config
        self.image_size = image_size

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the changed images, float32 [B, 3, S, S] in [0, 1]; new pixels are black.

        Args:
            images: uint8 [B, 3, S, S].
            generator: on the images' device. Only what is switched on draws from it, crop first, rotation last.
        """
        config, count, device = self.config, len(images), images.device
        shift = flip = angle = None
        if config.crop_padding:
            reach = 2 * config.crop_padding + 1
            shift = torch.randint(reach, (2, count), generator=generator, device=device) - config.crop_padding
        if config.horizontal_flip:
            flip = torch.rand(count, generator=generator, device=device) < 0.5
        if config.rotation:
            angle = (torch.rand(count, generator=generator, device=device) * 2 - 1) * config.rotation
        if shift is None and flip is None and angle is None:
            return to_unit(images)
        return to_unit(move_pixels(images, shift, flip, angle=angle))


def move_pixels(
    images: torch.Tensor,
    shift: torch.Tensor | None,
    flip: torch.Tensor | None,
    *,
    angle: torch.Tensor | None,
) -> torch.Tensor:
    """Shift, then mirror, then rotate each image; what comes from outside is black.

    Args:
        images: [B, C, S, S] of any type.
        shift: int64 [2, B], rows and columns by which the window moves down and right; torchvision's crop
            position minus its padding.
        flip: bool [B], mirror left and right.
        angle: float [B], degrees counter-clockwise, by the nearest pixel as PIL's `Image.rotate` finds it.

    Returns:
        Same shape and type as `images`.
    """
    count, channels, size, _ = images.shape
    line = torch.arange(size, device=images.device)
    rows, columns = line.view(1, size, 1), line.view(1, 1, size)
    if angle is not None:
        rows, columns = _rotated(rows, columns, angle, size)
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    if flip is not None:
        columns = torch.where(flip.view(-1, 1, 1), size - 1 - columns, columns)
    if shift is not None:
        rows, columns = rows + shift[0].view(-1, 1, 1), columns + shift[1].view(-1, 1, 1)
        inside = inside & (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    source = rows.clamp(0, size - 1) * size + columns.clamp(0, size - 1)
    source = source.expand(count, size, size).reshape(count, 1, -1).expand(-1, channels, -1)
    moved = images.reshape(count, channels, -1).gather(2, source).view_as(images)
    return moved.mul_(inside.unsqueeze(1))


def _rotated(
    rows: torch.Tensor, columns: torch.Tensor, angle: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the source row and column [B, S, S] of each output pixel.

    Pillow's rule: coordinates of pixel centres around the image's centre, in 16.16 fixed point, cut off to
    whole pixels.
    """
    # MPS has no float64; there a coordinate may fall into the neighbouring pixel now and then.
    precise = torch.float32 if angle.device.type == "mps" else torch.float64
    radians = torch.deg2rad(angle.to(precise))
    cosine, sine = radians.cos().view(-1, 1, 1), -radians.sin().view(-1, 1, 1)
    centre = size / 2

    def fixed(value: torch.Tensor) -> torch.Tensor:
        return torch.floor(value * 65536 + 0.5).long()

    start_column = fixed(centre - centre * (cosine + sine) + 0.5 * (cosine + sine))
    start_row = fixed(centre - centre * (cosine - sine) + 0.5 * (cosine - sine))
    along, across = fixed(cosine), fixed(sine)
    new_columns = (start_column + columns * along + rows * across) >> 16
    new_rows = (start_row + columns * fixed(-sine) + rows * along) >> 16
    return new_rows, new_columns
