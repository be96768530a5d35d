"""Attacks. A new one is one file here that registers an `Attack`."""

from engine.attacks import apgd, carlini_wagner, deepfool, fab, pgd, square
from engine.attacks.base import Attack, Attempt, Verdict, attacks

__all__ = [
    "Attack",
    "Attempt",
    "Verdict",
    "apgd",
    "attacks",
    "carlini_wagner",
    "deepfool",
    "fab",
    "pgd",
    "square",
]
