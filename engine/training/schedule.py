"""Learning rate and attack strength as pure functions of the step, so that a resumed run needs no state of theirs."""

from __future__ import annotations

import math

from engine.config import TrainingConfig

#: Share of the training over which the one-cycle rate rises, and its first value relative to the peak.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 0.04


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """The rate that optimiser update `step` (from 0) uses.

    Source: the authors' rule is a linear warm-up from zero, then decay at milestones; cosine is
    Loshchilov & Hutter, "SGDR" (2017), without restarts; one_cycle is Smith & Topin,
    "Super-convergence" (2018), with a cosine fall.
    """
    peak = config.learning_rate
    if config.schedule == "one_cycle":
        position = step / max(1, config.epochs * steps_per_epoch - 1)
        if position < ONE_CYCLE_RISE:
            return peak * (ONE_CYCLE_START + (1 - ONE_CYCLE_START) * position / ONE_CYCLE_RISE)
        return peak * 0.5 * (1 + math.cos(math.pi * (position - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)))
    warm_up = config.warm_up_epochs * steps_per_epoch
    if config.schedule == "cosine":
        if step < warm_up:
            return peak * step / warm_up
        last = config.epochs * steps_per_epoch - 1
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, last - warm_up)))
    if config.schedule == "milestones":
        if step < warm_up:
            return peak * step / warm_up
        passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
        return float(peak * config.decay_factor**passed)
    return peak


def ramp(share: float, step: int, total_steps: int) -> float:
    """Strength 0..1 of the training attack at `step`: it rises linearly over the first `share` of all steps."""
    if share <= 0:
        return 1.0
    return min(1.0, (step + 1) / (share * total_steps))
