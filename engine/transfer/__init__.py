"""Transfer methods. A new one is one file here that registers an `Objective`."""

from engine.transfer import neft, vanilla
from engine.transfer.vanilla import transfer_methods

__all__ = ["neft", "transfer_methods", "vanilla"]
