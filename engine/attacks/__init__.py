"""Attacks. A new one is one file here that registers an `Attack`."""

from engine.attacks import pgd
from engine.attacks.base import Attack, Attempt, Verdict, attacks

__all__ = ["Attack", "Attempt", "Verdict", "attacks", "pgd"]
