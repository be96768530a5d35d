"""What runs are called wherever several stand beside each other: in lists, legends, choices and the terminal.

Loads neither torch nor h5py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from engine.events import RunInfo


def varied_studies(runs: Iterable[RunInfo]) -> set[str]:
    """The studies that have runs of several seeds, which names do not tell apart."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.study, set()).add(run.config.seed)
    return {study for study, found in seeds.items() if len(found) > 1}


def run_title(run: RunInfo, varied: Collection[str]) -> str:
    """What a list calls a run: "AT, k=3, seed 1" if its study is among those `varied`, unless the user named it."""
    seed = run.study in varied and not run.label.title
    return f"{run.title}, seed {run.config.seed}" if seed else run.title


def distinct_titles(runs: Sequence[RunInfo], titles: Mapping[str, str] | None = None) -> dict[str, str]:
    """By id, what to call runs so that no two are called the same.

    Equal titles are followed by the study, or by the id where that is no difference either.

    Args:
        runs: those beside each other.
        titles: by id, what they are called otherwise; as `run_title` if None.
    """
    varied = varied_studies(runs)
    found = {run.id: run_title(run, varied) if titles is None else titles[run.id] for run in runs}
    equal: dict[str, list[RunInfo]] = {}
    for run in runs:
        equal.setdefault(found[run.id], []).append(run)
    for title, alike in equal.items():
        if len(alike) > 1:
            by_study = len({run.study for run in alike}) == len(alike)
            found |= {run.id: f"{title} ({run.study if by_study else run.id})" for run in alike}
    return found
