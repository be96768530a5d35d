"""Attacks. A new one is one file here that registers an `Attack`."""

from engine.attacks import pgd
from engine.attacks.base import Attack, Verdict, attacks

__all__ = ["Attack", "Verdict", "attacks", "pgd"]
