from __future__ import annotations

import io
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from engine.config import DataConfig
from engine.data import Domain, LoadingCancelled, image_folder, load_domain
from engine.data.image_folder import decode
from engine.errors import BadFilesError, DataError
from tests.data.genuine import image_folder as write_folder
from tests.data.genuine import pixels


@pytest.fixture
def photos(tmp_path) -> Path:
    return write_folder(tmp_path / "photos")


def load(root: Path, size: int = 24, **settings) -> Domain:
    config = DataConfig(name="folder", path=str(root), image_size=size, **settings)
    return load_domain(config, data_root=root.parent / "root")


def encoded(image: Image.Image, format_: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, format_, **options)
    return content.getvalue()


def picture(size: int = 24) -> Image.Image:
    return Image.fromarray(pixels(1, size, seed=5)[0])


def test_that_files_are_read_by_class_and_name(photos):
    domain = load(photos, 24)
    assert domain.class_names == ("cat", "dog", "emu")
    assert domain.train.labels.tolist() == [0] * 14 + [1] * 13 + [2] * 13
    numbers = [number for first in range(3) for number in range(first, 40, 3)]
    for row, number in enumerate(numbers):
        if number % 3 == 0:  # these have 24 pixels already
            expected = pixels(1, 24, seed=number + 100)[0]
            assert np.array_equal(domain.train.images[row].permute(1, 2, 0).numpy(), expected)


def test_that_the_second_start_reads_the_cache_and_gives_the_same(photos, monkeypatch):
    first = load(photos, validation_size=6)
    monkeypatch.setattr(image_folder, "decode", lambda path, size: pytest.fail(f"{path} was decoded again"))
    second = load(photos, validation_size=6)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(first, part).images, getattr(second, part).images)


def test_that_a_changed_file_is_decoded_again(photos):
    before = load(photos).train.images[0].clone()
    path = photos / "train" / "cat" / "000.png"
    path.write_bytes(encoded(Image.new("RGB", (24, 24), (1, 2, 3))))
    assert load(photos).train.images[0, :, 0, 0].tolist() == [1, 2, 3] != before[:, 0, 0].tolist()


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "pickle"])
def test_that_a_damaged_cache_is_made_anew(photos, damage):
    expected = load(photos).train.images
    caches = list((photos.parent / "root" / "cache").glob("*.npz"))
    assert len(caches) == 2
    for path in caches:
        content = bytearray(path.read_bytes())
        if damage == "cut":
            content = content[: len(content) // 2]
        elif damage == "flip":
            content[len(content) // 2] ^= 255
        elif damage == "text":
            content = bytearray(b"not an archive")
        else:
            np.savez(path, images=np.array([{}], dtype=object), bad=np.array([1]))
            continue
        path.write_bytes(content)
    assert torch.equal(load(photos).train.images, expected)


def test_that_the_cache_holds_a_bounded_number_of_files(photos):
    for size in range(8, 8 + image_folder.CACHE_FILES):
        load(photos, size)
    found = list((photos.parent / "root" / "cache").iterdir())
    assert len(found) == image_folder.CACHE_FILES
    assert all(path.suffix == ".npz" for path in found)


def test_that_a_cache_that_cannot_be_written_is_no_error(photos):
    (photos.parent / "root").write_text("a file where the folder should be")
    assert len(load(photos).train) == 40


def test_that_the_settings_of_other_sizes_do_not_share_a_cache(photos):
    assert load(photos, 24).train.images.shape[-1] == 24
    assert load(photos, 12).train.images.shape[-1] == 12


# fmt: off
def two_frames() -> bytes:
    return encoded(picture(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (24, 24))])


BAD = {
    "empty.png": (b"", "cannot identify"),
    "text.png": (b"hello" * 100, "cannot identify"),
    "cut.png": (encoded(picture())[:-40], "."),
    "cut.jpg": (encoded(picture(200), "JPEG")[:-500], "truncated"),
    "cut.webp": (encoded(picture(200), "WEBP")[:-500], "."),
    "cut.bmp": (encoded(picture(), "BMP")[:-100], "truncated"),
    "flip.png": (encoded(picture()).replace(b"IDAT", b"IDAX"), "."),
    "checksum.png": (encoded(picture())[:45] + b"\xff\xff" + encoded(picture())[47:], "."),
    "gif.png": (encoded(picture(), "GIF"), "cannot identify"),
    "tiff.jpg": (encoded(picture(), "TIFF"), "cannot identify"),
    "eps.jpg": (encoded(picture(), "EPS"), "cannot identify"),
    "huge.png": (encoded(Image.new("1", (8000, 7000))), "8000 x 7000 pixels; at most 50 million"),
    "bomb.png": (encoded(Image.new("1", (12000, 9000))), "pixels"),
    "notes.txt": (b"notes", "not a PNG, JPEG, WEBP or BMP file"),
    "image.gif": (encoded(picture(), "GIF"), "not a PNG, JPEG, WEBP or BMP file"),
}
# fmt: on


@pytest.mark.parametrize("name", BAD)
def test_that_a_bad_file_is_named_with_its_reason_and_left_out_only_with_consent(name, photos):
    content, reason = BAD[name]
    path = photos / "train" / "dog" / name
    path.write_bytes(content)
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(BadFilesError, match=reason) as caught:
            load(photos)
        assert [bad for bad, _ in caught.value.files] == [path]
        assert caught.value.total == 61
    domain = load(photos, skip_bad_files=True)
    assert len(domain.train) == 40
    assert [bad for bad, _ in domain.skipped] == [path]


def test_that_all_bad_files_are_named_at_once(photos):
    for folder in ("train/cat", "train/emu", "test/dog"):
        (photos / folder / "zero.png").write_bytes(b"")
    with pytest.raises(BadFilesError) as caught:
        load(photos)
    assert len(caught.value.files) == 3


def test_that_a_file_over_the_limit_is_not_read(photos):
    path = photos / "train" / "cat" / "large.png"
    with path.open("wb") as file:
        file.truncate(image_folder.MAX_BYTES + 1)
    with pytest.raises(BadFilesError, match="larger than 50 MB"):
        load(photos)
    with pytest.raises(DataError, match="larger than 50 MB"):
        decode(path, 16)


def test_that_links_out_of_the_folder_are_refused_and_links_within_are_followed(photos, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(encoded(picture()))
    cat = photos / "train" / "cat"
    (cat / "out.png").symlink_to(outside)
    (cat / "broken.png").symlink_to(tmp_path / "nothing.png")
    (cat / "loop.png").symlink_to(cat / "loop.png")
    (cat / "within.png").symlink_to(photos / "train" / "dog" / "001.webp")
    (photos / "train" / "gnu").symlink_to(tmp_path)
    with pytest.raises(BadFilesError) as caught:
        load(photos)
    assert {path.name for path, _ in caught.value.files} == {"out.png", "broken.png", "loop.png", "gnu"}
    assert len(load(photos, skip_bad_files=True).train) == 41


def test_that_a_split_that_is_a_link_out_of_the_folder_is_refused(photos, tmp_path):
    (photos / "test").rename(tmp_path / "elsewhere")
    (photos / "test").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="link out of"):
        load(photos)


def test_that_pipes_and_folders_among_the_images_are_not_opened(photos):
    os.mkfifo(photos / "train" / "cat" / "pipe.png")
    (photos / "train" / "cat" / "more.png").mkdir()
    with pytest.raises(BadFilesError, match=r"more.png: is a folder[\s\S]*pipe.png: is not a plain file"):
        load(photos)


def test_that_hidden_files_and_those_of_file_managers_are_passed_over(photos):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png"):
        (photos / "train" / "cat" / name).write_bytes(b"x")
    (photos / "train" / ".cache").mkdir()
    domain = load(photos)
    assert len(domain.train) == 40 and domain.skipped == ()


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("", "no folder .*photos"),
        ("train", "has no folder train"),
        ("test", "has no folder test"),
        ("train/*", "train holds no class folders"),
        ("train/dog", "classes that train has not: dog"),
        ("test/*/*", "test holds no images"),
    ],
)
def test_that_a_folder_of_another_shape_is_refused_with_what_is_missing(remove, message, photos):
    targets = sorted(photos.glob(remove)) if remove else [photos]
    for target in targets:
        target.unlink() if target.is_file() else target.rename(photos.parent / f"away-{target.name}")
    with pytest.raises(DataError, match=message):
        load(photos)


def test_that_a_class_may_be_missing_in_the_test_split(photos):
    (photos / "test" / "emu").rename(photos.parent / "away")
    assert load(photos).class_names == ("cat", "dog", "emu")


# fmt: off
KINDS = {
    "grey": (Image.new("L", (9, 9), 70), {}, (70, 70, 70)),
    "one bit": (Image.new("1", (9, 9), 1), {}, (255, 255, 255)),
    "palette": (Image.new("RGB", (9, 9), (10, 200, 30)).quantize(4), {}, (10, 200, 30)),
    "see-through palette": (Image.new("RGB", (9, 9), (10, 200, 30)).quantize(4), {"transparency": b"\x80"}, (10, 200, 30)),
    "alpha": (Image.new("RGBA", (9, 9), (10, 200, 30, 128)), {}, (10, 200, 30)),
    "grey with alpha": (Image.new("LA", (9, 9), (70, 9)), {}, (70, 70, 70)),
    "16 bits": (Image.fromarray(np.full((9, 9), 70 * 256 + 9, np.uint16)), {}, (70, 70, 70)),
}
# fmt: on


@pytest.mark.parametrize("kind", KINDS)
def test_that_every_kind_of_png_becomes_rgb(kind, tmp_path):
    image, options, colour = KINDS[kind]
    path = tmp_path / "a.png"
    image.save(path, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode(path, 8)
    assert found.shape == (3, 8, 8)
    assert np.array_equal(found[:, 4, 4], colour)


def test_that_a_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert np.abs(decode(tmp_path / "a.jpg", 8)[:, 4, 4].astype(int) - (255, 0, 0)).max() < 4


def test_that_a_picture_taken_sideways_is_turned_upright(tmp_path):
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(tmp_path / "a.png", exif=exif)
    found = decode(tmp_path / "a.png", 16)
    assert found[0, :, 15].min() == 255 and found[0, :, 0].max() == 0


def test_that_the_first_frame_of_an_animation_is_used(tmp_path):
    (tmp_path / "a.webp").write_bytes(two_frames())
    assert np.array_equal(decode(tmp_path / "a.webp", 24).transpose(1, 2, 0), pixels(1, 24, seed=5)[0])


def test_that_cut_files_stay_refused_whatever_else_the_program_does(photos):
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_that_a_thousand_cuts_and_flips_never_give_anything_but_pixels_or_a_reason(tmp_path):
    draws = np.random.Generator(np.random.PCG64(0))
    path = tmp_path / "a"
    refused = 0
    contents = [encoded(picture(), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP")]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"PIL(\..*)?$")
        for number in range(1000):
            content = bytearray(contents[number % 4])
            if number % 8 < 4:
                content = content[: draws.integers(len(content))]
            else:
                content[draws.integers(len(content))] ^= 1 << int(draws.integers(8))
            path.write_bytes(content)
            try:
                found = decode(path, 16)
            except DataError:
                refused += 1
            else:
                assert found.shape == (3, 16, 16)
    assert refused > 500


def test_that_a_drawn_subset_decodes_no_other_file(photos, monkeypatch):
    seen = []
    monkeypatch.setattr(image_folder, "decode", lambda path, size: seen.append(path) or decode(path, size))
    domain = load(photos, train_size=9, test_size=3)
    assert len(seen) == 12
    assert torch.bincount(domain.train.labels).tolist() == [3, 3, 3]


def test_that_reading_tells_how_far_it_is_in_bytes(photos):
    told = []
    config = DataConfig(name="folder", path=str(photos), image_size=8)
    load_domain(config, data_root=photos.parent, progress=lambda *event: told.append(event))
    sizes = {
        split: sum(path.stat().st_size for path in (photos / split).rglob("*.*"))
        for split in ("train", "test")
    }
    for split, size in sizes.items():
        mine = [(done, total) for what, done, total in told if what == f"photos/{split}"]
        assert mine[0] == (0, size) and mine[-1] == (size, size) and mine == sorted(mine)


def test_that_reading_stops_soon_when_asked(photos):
    start = time.perf_counter()
    calls = iter([False] + [True] * 100)
    config = DataConfig(name="folder", path=str(photos))
    with pytest.raises(LoadingCancelled):
        load_domain(config, data_root=photos.parent, cancelled=lambda: next(calls))
    assert time.perf_counter() - start < 5
