from __future__ import annotations

import base64
import hashlib
import http.server
import socket
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from PIL import Image

from engine.config import DataConfig
from engine.data import LoadingCancelled, load_domain
from engine.data.base import Loading
from engine.data.matlab import read_arrays
from engine.data.torchvision_sets import GTSRB_CLASSES, SOURCES, RemoteFile, fetch
from engine.errors import DataError, DownloadError
from tests.data.genuine import (
    TEST,
    TRAIN,
    pixels,
    write_cifar,
    write_gtsrb,
    write_mnist,
    write_stl10,
    write_svhn,
)


@pytest.fixture
def offline(monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)


def load(name: str, root: Path, size: int = 32, **settings):
    return load_domain(DataConfig(name=name, image_size=size, **settings), data_root=root)


def as_written(images) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_that_cifar_comes_out_of_its_archive_as_it_went_in(name, tmp_path, monkeypatch, offline):
    write_cifar(tmp_path, monkeypatch, name.upper())
    domain = load(name, tmp_path)
    images = pixels(TRAIN + TEST, 32)
    assert np.array_equal(as_written(domain.train.images), images[:TRAIN])
    assert np.array_equal(as_written(domain.test.images), images[TRAIN:])
    classes = len(domain.class_names)
    assert domain.train.labels.tolist() == [number * 7 % classes for number in range(TRAIN)]
    assert domain.class_names[3] == "class 3"


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_that_grey_sets_have_three_equal_channels(name, folder, tmp_path, offline):
    write_mnist(tmp_path, folder)
    domain = load(name, tmp_path, 28)
    expected = np.repeat(pixels(TRAIN, 28, seed=1)[..., :1], 3, axis=3)
    assert np.array_equal(as_written(domain.train.images), expected)
    assert domain.test.labels.tolist() == [number % 10 for number in range(TEST)]
    assert domain.class_names[1] == ("one" if name == "mnist" else "Trouser")


def test_that_svhn_s_digit_zero_is_class_zero(tmp_path, monkeypatch, offline):
    write_svhn(tmp_path, monkeypatch)
    domain = load("svhn", tmp_path)
    assert np.array_equal(as_written(domain.test.images), pixels(TEST, 32, seed=2))
    assert domain.train.labels.tolist() == [(number + 1) % 10 for number in range(TRAIN)]


def test_that_stl10_s_images_stand_upright(tmp_path, monkeypatch, offline):
    write_stl10(tmp_path, monkeypatch)
    domain = load("stl10", tmp_path, 96)
    assert np.array_equal(as_written(domain.train.images), pixels(TRAIN, 96, seed=1))
    assert domain.train.labels.tolist() == [number % 10 for number in range(TRAIN)]


def test_that_gtsrb_s_pictures_are_brought_to_size_and_cached(tmp_path, monkeypatch, offline):
    write_gtsrb(tmp_path, monkeypatch)
    first = load("gtsrb", tmp_path, 20)
    assert np.array_equal(as_written(first.train.images)[0], pixels(1, 20, seed=100)[0])
    assert first.test.labels.tolist() == [number % 4 for number in range(TEST)]
    assert len(first.class_names) == len(GTSRB_CLASSES) == 43
    monkeypatch.setattr(tv.GTSRB, "__getitem__", lambda *_: pytest.fail("decoded again"))
    second = load("gtsrb", tmp_path, 20, train_size=8)
    assert set(map(bytes, second.train.images.numpy())) <= set(map(bytes, first.train.images.numpy()))


def test_that_gtsrb_unpacked_in_part_is_refused(tmp_path, monkeypatch, offline):
    write_gtsrb(tmp_path, monkeypatch)
    next((tmp_path / "gtsrb" / "GTSRB" / "Training").rglob("*.ppm")).unlink()
    with pytest.raises(DataError, match=r"39 of 40 images. Delete"):
        load("gtsrb", tmp_path)


def test_that_a_folder_of_one_s_own_is_used_where_given(tmp_path, offline):
    write_mnist(tmp_path / "mine", "MNIST")
    config = DataConfig(name="mnist", path=str(tmp_path / "mine"), image_size=28)
    assert len(load_domain(config, data_root=tmp_path / "root").train) == TRAIN


@pytest.mark.parametrize("name", SOURCES)
def test_that_a_set_that_cannot_be_had_says_what_to_put_where(name, tmp_path, offline):
    source, _ = SOURCES[name]
    place = tmp_path / source.files()[0].place
    with pytest.raises(DownloadError) as caught:
        load(name, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{source.title} is not in {tmp_path} and could not be downloaded")
    assert "Name or service not known" in message
    assert f"Connect once, or put {place.name} in {place.parent}." in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_that_a_changed_archive_is_never_unpacked(tmp_path, monkeypatch, offline):
    archive = write_cifar(tmp_path, monkeypatch, "CIFAR10")
    content = bytearray(archive.read_bytes())
    content[100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DownloadError):
        load("cifar10", tmp_path)
    assert not (tmp_path / tv.CIFAR10.base_folder).exists()


def test_that_a_changed_batch_is_unpacked_anew_before_it_is_read(tmp_path, monkeypatch, offline):
    write_cifar(tmp_path, monkeypatch, "CIFAR10")
    expected = load("cifar10", tmp_path).train.images
    (tmp_path / tv.CIFAR10.base_folder / "data_batch_2").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert np.array_equal(load("cifar10", tmp_path).train.images, expected)


def test_that_files_cut_short_are_reported_with_what_to_do(tmp_path, offline, monkeypatch):
    write_mnist(tmp_path, "MNIST")
    monkeypatch.setattr("engine.data.torchvision_sets.fetch", lambda *_: None)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"MNIST in .* cannot be read .*Delete its files there"):
        load("mnist", tmp_path)


CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def server():
    """Serve CONTENT on this machine: whole, cut short, or not at all."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/missing":
                self.send_error(404, "Not Found")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:300_000] if self.path == "/cut" else CONTENT)

        def log_message(self, *_args) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def remote(*urls: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile("deep/file.bin", hashlib.md5(content).hexdigest(), urls)


def test_that_a_file_is_fetched_with_progress_in_bytes(server, tmp_path):
    told = []
    loading = Loading(DataConfig(), tmp_path, lambda *event: told.append(event))
    fetch("Set", remote(f"{server}/whole"), tmp_path, loading)
    assert (tmp_path / "deep" / "file.bin").read_bytes() == CONTENT
    assert told[0] == ("Set: file.bin", 0, len(CONTENT)) and told[-1] == (
        "Set: file.bin",
        len(CONTENT),
        len(CONTENT),
    )
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len(told) >= 4


def test_that_the_next_mirror_is_tried(server, tmp_path):
    fetch(
        "Set",
        remote(f"{server}/missing", f"{server}/cut", f"{server}/whole"),
        tmp_path,
        Loading(DataConfig(), tmp_path),
    )
    assert (tmp_path / "deep" / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("/missing", CONTENT, "404"),
        ("/cut", CONTENT, "ended after 300,000 of 1,024,000 bytes"),
        ("/whole", b"other", "what came is not the expected file"),
    ],
)
def test_that_a_failed_download_says_why_and_leaves_nothing(server, tmp_path, path, content, reason):
    with pytest.raises(DownloadError, match=reason):
        fetch("Set", remote(server + path, content=content), tmp_path, Loading(DataConfig(), tmp_path))
    assert list((tmp_path / "deep").iterdir()) == []


def test_that_a_download_stops_when_asked_and_leaves_nothing(server, tmp_path):
    answers = iter([False, False, True])
    loading = Loading(DataConfig(), tmp_path, cancelled=lambda: next(answers))
    with pytest.raises(LoadingCancelled):
        fetch("Set", remote(f"{server}/whole"), tmp_path, loading)
    assert list((tmp_path / "deep").iterdir()) == []


def test_that_a_file_with_the_right_sum_is_not_fetched_again(tmp_path, offline):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.bin").write_bytes(CONTENT)
    fetch("Set", remote("http://nowhere.invalid/x"), tmp_path, Loading(DataConfig(), tmp_path))


#: X = arange(48) as [2, 2, 3, 4] and y = [10, 1, 2, 9] as a column, both uint8, written by scipy 1.x (zlib, base85).
MATLAB = {
    "plain": (
        "c-r%I4DoSvQZUssQ1EpO(M`+DNmZaVV1NNePhUPDl>x+TK+FNeoKPuNAQk{(CMaeGViu4VAdG;D8GsZ@@TjoJ2xxF9"
        "i0Cj%@~X1R3TkpHis~{+@u{)N32AXDiRm#*^Q*JV3u|*Li|g}2^<lG*18xVzo=UJiEDT(XOq>8Lj2Ma"
    ),
    "compressed": (
        "c-r%I4DoSvQZUssQ1EpO(M`+DNmZaVV1NNePhWl@6%E7{a~>xrB%EMKGE;cQkmSe4k-(b7sF2o_l%|lznB=C=)6gZ^"
        "Ama65#fB3c83h_0FATgst=e>oE2~JW>y?q`$CVpTa%L84cD^+9{=9ngY3}S|?e5pi3@2ByE&^Gh1-HTg$%@ubkqt8h"
        "dn6^b8cl=)TDm883NuLZG5iMrN0Ud3"
    ),
}


@pytest.mark.parametrize("kind", MATLAB)
def test_that_matlab_arrays_are_read_as_scipy_wrote_them(kind, tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(zlib.decompress(base64.b85decode(MATLAB[kind])))
    found = read_arrays(path)
    assert np.array_equal(found["X"], np.arange(48, dtype=np.uint8).reshape(2, 2, 3, 4))
    assert np.array_equal(found["y"], np.array([[10], [1], [2], [9]]))
    assert found["X"].dtype == np.uint8


@pytest.mark.parametrize("kind", MATLAB)
def test_that_a_damaged_matlab_file_is_refused_or_read(kind, tmp_path):
    whole = zlib.decompress(base64.b85decode(MATLAB[kind]))
    path = tmp_path / "a.mat"
    for length in range(0, len(whole) - 8, 3):
        path.write_bytes(whole[:length])
        try:
            found = read_arrays(path)
        except ValueError:
            continue
        assert set(found) < {"X", "y"}


def test_that_pictures_of_any_mode_become_rgb(tmp_path, monkeypatch, offline):
    write_gtsrb(tmp_path, monkeypatch)
    path = next((tmp_path / "gtsrb" / "GTSRB" / "Training").rglob("*.ppm"))
    Image.new("L", (30, 40), 77).save(path, format="PPM")
    assert load("gtsrb", tmp_path, 16).train.images.shape == (TRAIN, 3, 16, 16)
