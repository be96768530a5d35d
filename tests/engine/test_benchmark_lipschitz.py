"""The tables of norms and bounds: every case of the reference file, trained networks, and what is wrong told by name."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import lipschitz
from engine.config import DataConfig, ModelConfig
from engine.inspection import bounds
from engine.inspection.norms import Convolution, exact_norm
from engine.models.spec import ModelSpec
from engine.store.checkpoints import save_weights
from tests.engine.exact import ExactCase, figures_of
from tests.engine.reference import load
from tests.engine.small import small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def test_that_every_case_of_the_file_is_in_the_table_and_right(capsys) -> None:
    assert lipschitz.exact(argparse.Namespace())
    lines = capsys.readouterr().out.splitlines()
    told = {line.split()[0].strip(",") for line in lines[2:] if line}
    cases = set(map(str, load("lipschitz_exact")["cases"]))
    assert cases <= told
    assert lines[-1].startswith(f"{len(cases)} cases, upper >= truth >= lower in all of them")


def test_that_a_case_that_is_wrong_is_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    right, maps, sums = bounds.upper_bounds, lipschitz.exact_cases(), figures_of("residual")
    monkeypatch.setattr(lipschitz, "exact_cases", lambda: maps[:1])
    monkeypatch.setattr(lipschitz, "figures_of", lambda kind: sums if kind == "residual" else {})
    monkeypatch.setattr(bounds, "upper_bounds", lambda maps: 0.9 * right(maps))
    assert not lipschitz.exact(argparse.Namespace())
    last = capsys.readouterr().out.splitlines()[-1]
    named = last.partition("all but ")[2].split("; ")
    assert named[: len(sums)] == list(sums)
    assert named[len(sums)] == f"{maps[1].name} (of unknown kind)"


@pytest.mark.parametrize(
    ("factor", "told", "code"), [(1.0, "in all of them", 0), (0.5, "in all but small;", 1)]
)
def test_that_the_exit_code_tells_whether_all_cases_are_right(
    monkeypatch: pytest.MonkeyPatch, capsys, factor: float, told: str, code: int
) -> None:
    one, right = Convolution(torch.ones(2, 2, 3, 3), (5, 5), padding=(1, 1)), lipschitz.upper_bounds
    case = ExactCase("small", "conv", one, {"sigma": np.array(exact_norm(one))})
    monkeypatch.setattr(lipschitz, "load", lambda name: {"cases": np.array(["small"])})
    monkeypatch.setattr(lipschitz, "exact_cases", lambda: [case])
    monkeypatch.setattr(lipschitz, "figures_of", lambda kind: {})
    monkeypatch.setattr(lipschitz, "upper_bounds", lambda maps: factor * right(maps))
    monkeypatch.setattr("sys.argv", ["lipschitz", "--exact", "--threads", "1"])
    with pytest.raises(SystemExit) as left:
        lipschitz.main()
    assert left.value.code == code
    assert f"1 cases, upper >= truth >= lower {told}" in capsys.readouterr().out


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Of a small network in a file, and of attacks that take no time."""
    path = tmp_path / "network.safetensors"
    data = DataConfig(name="digits", image_size=8, train_size=10, test_size=30)
    spec = ModelSpec(ModelConfig(depth=10), tuple("0123456789"), data)
    save_weights(path, warm(small_model(classes=10)).state_dict(), spec.to_metadata())
    monkeypatch.setattr(lipschitz, "ATTACK_STEPS", (2,))
    monkeypatch.setattr(lipschitz, "data_folder", lambda: tmp_path)
    return argparse.Namespace(
        networks=[path],
        device="cpu",
        threads=1,
        rounds=1,
        images=5,
        epsilon=[8 / 255, 0.5],
        data=None,
        image_size=None,
    )


def test_that_a_network_is_told_from_its_methods_to_what_attacks_do_to_its_prefixes(options, capsys) -> None:
    assert lipschitz.networks(options)
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines()[1:])) <= 120
    assert "full analysis" in told and "0 contradictions" in told and "never exceeded" in told
    _, _, table = told.partition("log10, to block")
    head, _, stem, *blocks = (line.split() for line in table.splitlines()[:8])
    assert [stem[0], *(cells[0] for cells in blocks)] == ["stem", "1", "2", "3", "4", "5"]
    for cells in blocks:
        *seen, estimate, upper = (float(cell) for cell in cells[1:] if cell != "-")
        assert max(seen) <= estimate <= upper
    subject = lipschitz._subject(options.networks[0], options)
    with torch.no_grad():
        clean = subject.model(subject.images)
        for cell, attacked in zip(blocks[-1][1:], subject.attacked.values(), strict=False):
            moved = (attacked - subject.images).flatten(1).norm(dim=1)
            expansion = (subject.model(attacked) - clean).norm(dim=1) / moved
            assert float(cell) == pytest.approx(math.log10(expansion.max()), abs=6e-4)


def test_that_a_bound_that_is_exceeded_is_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"PGD-2": np.array([0.3, 0.9, 1.5]), "gradients": np.array([math.nan, math.nan, 0.1])}
    bound = np.array([0.3 - 1e-6, 0.8, math.nan])
    exceeded = lipschitz._print_prefixes(seen, bound - 0.1, bound)
    assert exceeded == ["PGD-2 to block 1"]
    monkeypatch.setattr(lipschitz, "_subject", lambda path, options: path)
    monkeypatch.setattr(lipschitz, "_network", lambda path, options: exceeded if path.stem == "b" else [])
    assert not lipschitz.networks(argparse.Namespace(networks=[Path("a.pt"), Path("b.pt")]))
    assert capsys.readouterr().out.endswith(": exceeded in b.pt, PGD-2 to block 1\n")
