"""Pre-training methods. A new one is one file here that registers an `Objective`."""

from engine.pretraining import adversarial, fdm, natural, trades
from engine.pretraining.natural import pretraining_methods

__all__ = ["adversarial", "fdm", "natural", "pretraining_methods", "trades"]
