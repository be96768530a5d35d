from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from engine.config import AugmentationConfig
from engine.data.augment import Augmenter, move_pixels, to_unit


def random_images(count: int, size: int) -> torch.Tensor:
    """Images without black, so that filled-in pixels can be told apart."""
    draws = torch.Generator().manual_seed(size)
    return torch.randint(1, 256, (count, 3, size, size), generator=draws, dtype=torch.uint8)


def pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def tensors(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("size", "padding"), [(16, 2), (32, 4), (9, 8)])
def test_that_crop_and_flip_equal_torchvision_s_pixel_for_pixel(size, padding):
    images = random_images(60, size)
    draws = torch.Generator().manual_seed(1)
    top, left = torch.randint(2 * padding + 1, (2, 60), generator=draws)
    flip = torch.rand(60, generator=draws) < 0.5
    found = move_pixels(images, torch.stack([top, left]) - padding, flip, angle=None)
    expected = []
    for image, row, column, mirrored in zip(images, top.tolist(), left.tolist(), flip.tolist(), strict=True):
        padded = functional.pad(pillow(image), [padding])
        cropped = functional.crop(padded, row, column, size, size)
        expected.append(functional.hflip(cropped) if mirrored else cropped)
    assert torch.equal(found, tensors(expected))


@pytest.mark.parametrize("size", [8, 15, 16, 32, 33, 224])
def test_that_rotation_equals_pillow_s_pixel_for_pixel(size):
    images = random_images(40, size)
    angle = (torch.rand(40, generator=torch.Generator().manual_seed(2)) * 2 - 1) * 180
    angle[:8] = torch.tensor([0.0, 90.0, 180.0, -90.0, 45.0, -180.0, 30.0, 60.0])
    found = move_pixels(images, None, None, angle=angle)
    expected = [pillow(image).rotate(degrees) for image, degrees in zip(images, angle.tolist(), strict=True)]
    assert torch.equal(found, tensors(expected))


def test_that_crop_flip_and_rotation_follow_in_this_order():
    images = random_images(50, 16)
    draws = torch.Generator().manual_seed(3)
    top, left = torch.randint(9, (2, 50), generator=draws)
    flip = torch.rand(50, generator=draws) < 0.5
    angle = (torch.rand(50, generator=draws) * 2 - 1) * 30
    found = move_pixels(images, torch.stack([top, left]) - 4, flip, angle=angle)
    expected = []
    for row in range(50):
        image = functional.crop(
            functional.pad(pillow(images[row]), [4]), int(top[row]), int(left[row]), 16, 16
        )
        image = functional.hflip(image) if flip[row] else image
        expected.append(functional.rotate(image, float(angle[row])))
    assert torch.equal(found, tensors(expected))


def test_that_nothing_switched_on_is_only_the_conversion():
    images = random_images(5, 16)
    draws = torch.Generator().manual_seed(0)
    before = draws.get_state()
    found = Augmenter(AugmentationConfig(), 16)(images, draws)
    assert found.dtype == torch.float32
    assert torch.equal(found, images.float() / 255)
    assert torch.equal(found, torch.stack([functional.to_tensor(pillow(image)) for image in images]))
    assert torch.equal(draws.get_state(), before)


def test_that_the_images_given_stay_as_they_are():
    images = random_images(8, 16)
    kept = images.clone()
    config = AugmentationConfig(crop_padding=4, horizontal_flip=True, rotation=15.0)
    found = Augmenter(config, 16)(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, kept)
    assert found.shape == images.shape and 0 <= found.min() <= found.max() <= 1
    assert not torch.equal(found, to_unit(images))


def test_that_one_generator_state_gives_one_result():
    images = random_images(8, 16)
    augment = Augmenter(AugmentationConfig(crop_padding=4, horizontal_flip=True, rotation=15.0), 16)
    results = [augment(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_that_every_crop_position_is_equally_likely():
    """One bright pixel in the middle shows where the window went: 5 x 5 places, uniform up to chance."""
    images = torch.zeros(5000, 3, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    found = Augmenter(AugmentationConfig(crop_padding=2), 9)(images, torch.Generator().manual_seed(0))
    counts = found[:, 0].sum(0)
    assert torch.equal(counts > 0, torch.nn.functional.pad(torch.ones(5, 5, dtype=torch.bool), [2] * 4))
    expected = 5000 / 25
    chi_squared = ((counts[2:7, 2:7] - expected) ** 2 / expected).sum()
    assert chi_squared < 52  # the 99.9 % point for 24 degrees of freedom is 51.2


def test_that_half_of_the_images_are_mirrored():
    images = torch.zeros(4000, 3, 8, 8, dtype=torch.uint8)
    images[..., 0] = 255
    found = Augmenter(AugmentationConfig(horizontal_flip=True), 8)(images, torch.Generator().manual_seed(0))
    assert abs(found[:, 0, 0, 7].mean() - 0.5) < 0.03
    assert torch.equal(found[:, 0, 0, 7] + found[:, 0, 0, 0], torch.ones(4000))


def test_that_rotation_stays_within_its_limit_and_uses_all_of_it(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "engine.data.augment.move_pixels", lambda images, shift, flip, angle: seen.append(angle) or images
    )
    Augmenter(AugmentationConfig(rotation=15.0), 8)(random_images(5000, 8), torch.Generator().manual_seed(0))
    assert 14.9 < seen[0].max() <= 15 and -15 <= seen[0].min() < -14.9
    assert abs(seen[0].mean()) < 0.5 and abs(seen[0].std() - 15 / 3**0.5) < 0.3


@pytest.mark.gpu
def test_that_a_gpu_moves_pixels_as_the_cpu_does():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    images = random_images(64, 32)
    draws = torch.Generator().manual_seed(3)
    shift = torch.randint(9, (2, 64), generator=draws) - 4
    flip = torch.rand(64, generator=draws) < 0.5
    angle = (torch.rand(64, generator=draws) * 2 - 1) * 15
    expected = move_pixels(images, shift, flip, angle=angle)
    found = move_pixels(images.cuda(), shift.cuda(), flip.cuda(), angle=angle.cuda())
    assert torch.equal(found.cpu(), expected)
