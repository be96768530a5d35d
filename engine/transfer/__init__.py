"""Transfer methods. A new one is one file here that registers an `Objective`."""

from engine.transfer import adversarial, full, linear_probe, lwf, neft, vanilla
from engine.transfer.vanilla import transfer_methods

__all__ = ["adversarial", "full", "linear_probe", "lwf", "neft", "transfer_methods", "vanilla"]
