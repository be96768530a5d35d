"""Summaries: exact sentences for invented numbers, and silence where numbers do not carry one."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from engine.config import DataConfig, FinetuningConfig, RunConfig
from engine.events import Columns, StageLayout, TableName
from engine.insight import FEWEST, MOST, RULES, Insight, Place, insights, rank_test
from engine.store.schema import STAGE_TABLES, tail
from engine.wording import significant

BLOCKS = tuple(f"residual block {number}" for number in range(1, 6)) + ("classifier",)
LAYERS = ("stem", "blocks.1.conv", "blocks.4.conv1", "blocks.4.conv2", "blocks.5.conv", "blocks.6")
HEAD = StageLayout(
    "finetuning", "Transfer (NEFT, k = 3) on digits", epochs=2, steps_per_epoch=10, block_names=BLOCKS,
    layer_names=LAYERS, layer_blocks=(0, 1, 4, 4, 5, 6), boundary=3,
)  # fmt: skip
FDM = replace(HEAD, stage="pretraining")  # the boundary is only prepared: all blocks are trained
NEFT = RunConfig(
    name="NEFT", start_from="AT", target=DataConfig(name="digits"),
    finetuning=FinetuningConfig(method="neft", spectral_bound=0.4),
)  # fmt: skip
UNKNOWN = np.nan

Tables = dict[TableName, Columns]


def table(name: TableName, rows: int, layout: StageLayout = HEAD, **known: object) -> Tables:
    """One table in which only these columns are known; a value stands for all rows that it does not tell apart."""
    columns = {}
    for column in next(item for item in STAGE_TABLES[layout.stage] if item.name == name).columns:
        shape = (rows, *tail(layout, column))
        unknown = UNKNOWN if column.dtype.startswith("f") else 0
        value = known.pop(column.name, np.arange(rows) * 10 if column.name == "step" else unknown)
        columns[column.name] = np.broadcast_to(np.asarray(value, column.dtype), shape).copy()
    assert not known
    return {name: columns}


def probe(means: object, images: int = 40, *, spread: float = 0.1, **known: object) -> Tables:
    """Relative distances with these means over the images, which differ by up to this share from image to image."""
    apart = 1 + spread * np.linspace(-1, 1, images)
    return table("probe", images, relative_distance=apart[:, None] * np.asarray(means), **known)


def flips(count: int, images: int = 40) -> np.ndarray:
    """Predictions of attacked images, of which the last so many differ from 0."""
    return (np.arange(images) >= images - count).astype(int)


GROWING = (0.02, 0.021, 0.022, 0.05, 0.1, 0.11)
CONSTRAINED = (UNKNOWN, UNKNOWN, 0.39, 0.38, 0.4, UNKNOWN)

#: Tables, layout, settings, and the one sentence that they give.
SENTENCES: dict[str, tuple[Tables, StageLayout, RunConfig | None, Insight]] = {
    "contradiction": (
        table("bounds", 4, violations=(0, 2, 0, 0)), HEAD, None,
        Insight(
            "contradiction",
            "Warning: in 1 of 4 measurements a lower bound lies above its upper bound, last at step 10; do not rely on "
            "these bounds.",
            "violations",
        ),
    ),
    "batch norm": (
        table(
            "bounds", 1, layer_sigma=CONSTRAINED, layer_unfolded_estimate=(9, 9, 0.546, 0.5, 0.5, 9),
            layer_estimate=(99, 99, 3.28, 0.5, 0.9, 99),
        ), HEAD, NEFT,
        Insight(
            "batch_norm",
            "Batch norm works against spectral normalisation in 2 of 3 layers, most in layer blocks.4.conv1: operator norm "
            "0.546 alone, 3.28 with batch norm (estimates).",
            "layer_estimate", Place("layer", 2),
        ),
    ),
    "reshaped norm": (
        table(
            "bounds", 1, layer_sigma=CONSTRAINED, layer_reshaped=(7, 7, 0.401, 0.4, 0.402, 7),
            layer_unfolded_estimate=(9, 9, 0.6, 0.784, 0.5, 9),
        ), HEAD, NEFT,
        Insight(
            "reshaped_norm",
            "Spectral normalisation holds reshaped norms at 0.402 or less (beta = 0.4); the operator norms of the same "
            "layers reach 0.784 (estimate).",
            "layer_unfolded_estimate", Place("layer", 3),
        ),
    ),
    "reshaped norm without settings": (
        table(
            "bounds", 1, layer_sigma=CONSTRAINED, layer_reshaped=0.4, layer_unfolded_estimate=(9, 9, 0.6, 0.5, 0.5, 9)
        ), HEAD, None,
        Insight(
            "reshaped_norm",
            "Spectral normalisation holds reshaped norms at 0.4 or less; the operator norms of the same layers reach 0.6 "
            "(estimate).",
            "layer_unfolded_estimate", Place("layer", 2),
        ),
    ),
    "growth in several blocks": (
        probe(GROWING), FDM, None,
        Insight(
            "distance_growth",
            "The relative feature distance grows fastest in blocks 4 to 5: from 0.022 to 0.1 (means of 40 images).",
            "relative_distance", Place("block", 3),
        ),
    ),
    "growth in one block": (
        probe((0.1, 0.09, 0.08, 0.08, 0.08, 0.24)), FDM, None,
        Insight(
            "distance_growth",
            "The relative feature distance grows fastest in block 6: from 0.08 to 0.24 (means of 40 images).",
            "relative_distance", Place("block", 5),
        ),
    ),
    "one block surely amplifies most": (
        table("bounds", 1, block_upper=(1.5, 2, 2.3, 1, 3.14, 1), block_lower=(1, 1, 1, 0.5, 2.4, 0.1)), HEAD, None,
        Insight(
            "largest_bound",
            "Block 5 amplifies most: between 2.4 (seen on pairs) and 3.14 (certified bound).",
            "block_upper", Place("block", 4),
        ),
    ),
    "another block may amplify more": (
        table("bounds", 1, block_upper=(1.5, 2, 2.5, 1, 3.14, 1), block_lower=(1, 1, 1, 0.5, 2.4, 0.1)), HEAD, None,
        Insight(
            "largest_bound",
            "The certified bound is largest in block 5: 3.14, of which 2.4 is seen on pairs.",
            "block_upper", Place("block", 4),
        ),
    ),
    "bounds of layers alone": (
        table("bounds", 1, layer_upper=(9, 1, 1, 1, 1, 1), layer_lower=(2, 0.5, 0.5, 0.5, 0.5, 0.5)), HEAD, None,
        Insight(
            "largest_bound",
            "Layer stem amplifies most: between 2 (seen on pairs) and 9 (certified bound).",
            "layer_upper", Place("layer", 0),
        ),
    ),
    "head bound": (
        table("bounds", 3, block_upper=[(9, 9, 9, 1, 12.7, 1), (9, 9, 9, 5, 5, 5), (1, 1, 1, 2, 2.05, 1)]), HEAD, None,
        Insight(
            "head_bound",
            "The certified bound of the head (blocks 4 to 6, trained) fell from 12.7 to 4.1 since step 0.",
            "block_upper", Place("block", 3),
        ),
    ),
    "head of one block": (
        table("bounds", 2, block_upper=[(9, 9, 9, 9, 9, 2), (9, 9, 9, 9, 9, 3)]), replace(HEAD, boundary=5), None,
        Insight(
            "head_bound",
            "The certified bound of the head (block 6, trained) rose from 2 to 3 since step 0.",
            "block_upper", Place("block", 5),
        ),
    ),
    "bound of all blocks": (
        table("bounds", 2, block_upper=[(10, 10, 10, 10, 10, 20), (1, 10, 1, 1, 10, 2)]), FDM, None,
        Insight(
            "head_bound",
            "The product of the blocks' certified bounds fell from 10^6.3 to 200 since step 0.",
            "block_upper",
        ),
    ),
    "flipped images drift further": (
        probe((0.1,) * 6, adversarial_prediction=flips(13)), HEAD, None,
        Insight(
            "flipped",
            "The 13 images that flip drift further than the 27 that do not: mean relative distance 0.107 against 0.0967 in "
            "block 3, further in 100.0 % of pairs (rank test, z = 5.1).",
            "relative_distance", Place("block", 2),
        ),
    ),
    "flipped images drift less": (
        probe((0.1,) * 6, adversarial_prediction=1 - flips(13)), FDM, None,
        Insight(
            "flipped",
            "The 27 images that flip drift less than the 13 that do not: mean relative distance 0.0967 against 0.107 in "
            "block 5, less in 100.0 % of pairs (rank test, z = -5.1).",
            "relative_distance", Place("block", 4),
        ),
    ),
    "boundary": (
        probe((0.3, 0.3, 0.3, 0.2, 0.2, 0.2)), HEAD, None,
        Insight(
            "boundary",
            "From the frozen boundary (block 3) to the logits the relative distance shrinks from 0.3 to 0.2 (means of 40 "
            "images).",
            "relative_distance", Place("block", 2),
        ),
    ),
    "network": (
        table("bounds", 1, log10_upper=8.34, log10_lower=0.9), HEAD, None,
        Insight(
            "network_bound",
            "log10 of the network's Lipschitz constant lies between 0.9 (largest expansion seen on pairs) and 8.34 "
            "(certified bound); such products are loose, use them for trends.",
            "log10_upper",
        ),
    ),
    "CKA": (
        probe((0.1,) * 6) | table("layers", 2, cka=[(UNKNOWN,) * 6, (0.95, 0.93, 0.9, 0.71, 0.94, UNKNOWN)]), HEAD, None,
        Insight(
            "cka",
            "Clean and adversarial features are least alike in block 4: CKA 0.71, against 0.935 in the median of the other "
            "blocks.",
            "cka", Place("block", 3),
        ),
    ),
    "live share": (
        table("bounds", 1, live_share=0.0083), HEAD, None,
        Insight("live_share", "Distances and bounds took 0.83 % of the training time; bounds were measured 1 time.", "live_share"),
    ),
}  # fmt: skip

#: Numbers that carry no sentence, and why.
SILENT: dict[str, tuple[Tables, StageLayout]] = {
    "no tables": ({}, HEAD),
    "no rows": (table("bounds", 0) | table("probe", 0) | table("layers", 0), HEAD),
    "nothing known": (table("bounds", 3) | table("probe", 40) | table("layers", 3), HEAD),
    "too few images": (probe(GROWING, FEWEST - 1), FDM),
    "growth within the spread": (
        probe(GROWING) | table("probe", 40, relative_distance=[[*GROWING[:3], 9 * (image == 7), 0.04, 0.04]
                                                               for image in range(40)]), FDM,
    ),
    "growth alike in all blocks": (probe(2.0 ** np.arange(6)), FDM),
    "distance that only shrinks": (probe(2.0 ** -np.arange(6)), FDM),
    "too few images that flip": (probe((0.1,) * 6, adversarial_prediction=flips(FEWEST - 1)), HEAD),
    "images that flip are any": (probe((0.1,) * 6, adversarial_prediction=np.arange(40) % 2), HEAD),
    "bounds that contradict each other": (
        table("bounds", 1, block_upper=(1, 2, 3, 1, 1, 1), block_lower=(1, 2, 3.1, 1, 1, 1)), HEAD,
    ),
    "an infinite bound": (
        table("bounds", 1, block_upper=(1, 2, np.inf, 1, 1, 1), block_lower=1, log10_upper=np.inf, log10_lower=1), HEAD,
    ),
    "head bound as it was": (table("bounds", 2, block_upper=[(1, 1, 1, 1, 1, 2.0), (1, 1, 1, 1, 1, 2.1)]), HEAD),
    "one look at the head": (table("bounds", 1, block_upper=(1, 1, 1, 1, 1, 2.0)), HEAD),
    "norms that hold, layers that are not constrained": (
        table(
            "bounds", 1, layer_sigma=CONSTRAINED, layer_reshaped=0.4, layer_unfolded_estimate=(9, 9, 0.4, 0.4, 0.4, 9),
            layer_estimate=(99, 99, 0.4, 0.4, 0.4, 99),
        ), HEAD,
    ),
    "CKA that is alike": (probe((0.1,) * 6) | table("layers", 1, cka=(0.95, 0.93, 0.9, 0.86, 0.94, 0.9)), HEAD),
    "CKA of few images": (probe((0.1,) * 6, 5) | table("layers", 1, cka=(0.95, 0.93, 0.9, 0.1, 0.94, 0.9)), HEAD),
}  # fmt: skip


@pytest.mark.parametrize(("tables", "layout", "config", "expected"), SENTENCES.values(), ids=SENTENCES)
def test_that_numbers_give_this_sentence_and_no_other(
    tables: Tables, layout: StageLayout, config: RunConfig | None, expected: Insight
) -> None:
    assert insights(layout, tables, config) == (expected,)


def test_that_every_rule_has_a_sentence_in_these_tests() -> None:
    assert {insight.code for *_, insight in SENTENCES.values()} == {rule.__name__[1:] for rule in RULES}


@pytest.mark.parametrize(("tables", "layout"), SILENT.values(), ids=SILENT)
def test_that_nothing_is_said_that_numbers_do_not_carry(tables: Tables, layout: StageLayout) -> None:
    assert insights(layout, tables, NEFT) == ()


def test_that_the_most_important_sentences_come_first_and_not_too_many() -> None:
    everything: dict[str, object] = {}
    for tables, layout, _, _ in SENTENCES.values():
        for name, columns in tables.items():
            rows = len(columns["step"]) if name == "bounds" else 0
            if name == "bounds" and layout is HEAD and rows == 1:
                everything |= {key: value[-1] for key, value in columns.items() if np.isfinite(value).any()}
    everything["violations"] = 1
    found = insights(HEAD, table("bounds", 1, **everything) | probe(GROWING), NEFT)
    order = [rule.__name__[1:] for rule in RULES]
    assert len(found) == MOST and found[0].code == "contradiction"
    assert [order.index(insight.code) for insight in found] == sorted(
        order.index(item.code) for item in found
    )


def numbers(draw: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Any numbers: ordinary ones, and those that no training should give."""
    if not dtype.startswith("f"):
        return draw.integers(-1, 4, shape).astype(dtype)
    values = np.exp(draw.normal(0, draw.choice([0.1, 2.0]), shape)) * draw.choice([1.0, 1e-3, 1e6])
    odd = draw.choice([np.nan, np.inf, -np.inf, 0.0, -1.0, 3e38, 1e-45], shape)
    return np.where(draw.random(shape) < draw.choice([0.0, 0.02, 0.5]), odd, values).astype(dtype)


@pytest.mark.parametrize("seed", range(8))
def test_that_no_numbers_break_it_and_that_every_sentence_has_a_number(seed: int) -> None:
    draw = np.random.default_rng(seed)
    said = 0
    for _ in range(40):
        count = int(draw.integers(1, 7))
        layout = replace(
            HEAD,
            stage=str(draw.choice(["pretraining", "finetuning", "attack"])),
            block_names=BLOCKS[:count],
            boundary=draw.choice([None, 0, 1, count - 1, count]),
        )
        tables: dict[TableName, Columns] = {}
        for entry in STAGE_TABLES[layout.stage]:
            if entry.name in ("layers", "bounds", "probe") and draw.random() < 0.9:
                rows = int(draw.choice([0, 1, 2, 30]))
                tables[entry.name] = {
                    column.name: numbers(draw, (rows, *tail(layout, column)), column.dtype)
                    for column in entry.columns
                    if column.name == "step" or draw.random() < 0.95
                }
        found = insights(layout, tables, NEFT)
        said += len(found)
        assert len(found) <= MOST and len({insight.code for insight in found}) == len(found)
        for insight in found:
            assert re.search(r"\d", insight.text) and not re.search(r"\bnan\b|\binf\b", insight.text)
            assert any(insight.quantity in columns for columns in tables.values())
            if insight.place is not None:
                names = layout.block_names if insight.place.per == "block" else layout.layer_names
                assert 0 <= insight.place.index < len(names)
    assert said > 20, "numbers that give nothing test nothing"


def test_that_the_rank_test_counts_pairs_and_knows_its_own_spread() -> None:
    first, second = np.array([1.0, 4.0, 4.0]), np.array([0.0, 4.0, 2.0, 9.0])
    share, _ = rank_test(first, second)
    assert share == pytest.approx((1 + 2.5 + 2.5) / 12)
    values = np.arange(8.0)
    shares, deviations = [], []
    for chosen in itertools.combinations(range(8), 3):  # every way in which chance may divide them
        rest = np.delete(values, chosen)
        share, deviation = rank_test(values[list(chosen)], rest)
        shares.append(share)
        deviations.append(deviation)
    assert np.mean(shares) == pytest.approx(0.5) and np.std(deviations) == pytest.approx(1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.02128, "0.0213"), (12.65, "12.7"), (1234.0, "1230"), (2.138e8, "2.14e8"), (1.5e-7, "1.5e-7"), (0.0, "0"),
        (-0.0, "0"), (float("nan"), "-"), (999.6, "1000"),
    ],
)  # fmt: skip
def test_that_numbers_are_written_in_three_digits(value: float, text: str) -> None:
    assert significant(value) == text
