"""The tables that compare attacks, at a size that takes no time."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks.attacks import HEADS, oracle, parity, speed
from engine.config import DataConfig, ModelConfig
from engine.data import load_domain
from engine.data.augment import to_unit
from engine.models.spec import ModelSpec
from engine.store.checkpoints import save_weights
from tests.engine.peers import exact_distances, linear_peer
from tests.engine.small import small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_that_the_table_of_parity_has_equal_verdicts_and_images(norm: str) -> None:
    for row in islice(parity(argparse.Namespace(norm=norm, images=20)), 3):
        values = dict(zip(HEADS["parity"], row, strict=True))
        assert values["ours %"] == values["theirs %"]
        assert values["equal"] == "20/20"
        assert float(values["max |dx|"]) <= 1e-6


def test_that_the_oracles_table_begins_with_the_exact_figure_and_counts_what_is_above() -> None:
    rows = list(islice(oracle(argparse.Namespace(norm="linf", images=20)), 4))
    peer = linear_peer().first(20)
    exact = (exact_distances(peer.model, peer.images, peer.labels, "linf") > peer.epsilon["linf"]).mean()
    assert float(rows[0][1]) == pytest.approx(100 * exact)
    for row in rows[1:]:
        values = dict(zip(HEADS["oracle"], row, strict=True))
        assert values["below exact"] == "0"
        assert float(values["robust %"]) == pytest.approx(100 * exact + 5 * int(values["above exact"]))


def test_that_the_table_of_time_counts_the_images_of_all_blocks_once(tmp_path: Path) -> None:
    model, path = warm(small_model(classes=10)).eval(), tmp_path / "network.safetensors"
    data = DataConfig(name="digits", image_size=16, train_size=10, test_size=30)
    spec = ModelSpec(ModelConfig(depth=10), tuple("0123456789"), data)
    save_weights(path, model.state_dict(), spec.to_metadata())
    options = argparse.Namespace(
        weights=[path], device="cpu", data=tmp_path, images=21, attacks=["pgd"], epsilon=0.004, batch_size=4,
        blocks=2, threads=1,
    )  # fmt: skip
    ((*row,),) = speed(options)
    values = dict(zip(HEADS["speed"], row, strict=True))
    test = load_domain(data, data_root=tmp_path).test
    with torch.no_grad():
        right = (model(to_unit(test.images[:21])).argmax(1) == test.labels[:21]).float().mean()
    assert values["weights, attack"].startswith("network, PGD-20")
    assert values["images"] == "21"
    assert 0 <= float(values["ours %"]) <= 100 * float(right) + 0.1
    assert int(values["equal"].split("/")[0]) >= 18
    assert float(values["p10"]) <= float(values["faster"]) <= float(values["p90"])
