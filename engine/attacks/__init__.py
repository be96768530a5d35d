"""Attacks. A new one is one file here that registers an `Attack`."""

from engine.attacks import carlini_wagner, deepfool, fab, pgd
from engine.attacks.base import Attack, Attempt, Verdict, attacks

__all__ = ["Attack", "Attempt", "Verdict", "attacks", "carlini_wagner", "deepfool", "fab", "pgd"]
