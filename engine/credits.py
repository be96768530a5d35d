"""Whose ideas the program is made of: the papers of what is registered, so that a new part appears by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.config import ATTACKS

_YEAR = re.compile(r"\b(19|20)\d\d\b")


@dataclass(frozen=True, slots=True)
class Credit:
    """A part of the program and the paper that it follows."""

    kind: str
    title: str
    source: str


def credit_list() -> tuple[Credit, ...]:
    """List the methods, attacks, networks and data sets that follow a paper. Loads torch."""
    from engine.data import datasets
    from engine.models import models
    from engine.pretraining import pretraining_methods
    from engine.transfer import transfer_methods

    found = [
        Credit(kind, entry.title[:1].upper() + entry.title[1:], entry.source)
        for kind, registry in (("Pre-training", pretraining_methods), ("Transfer", transfer_methods))
        for entry in registry
    ]
    found += [Credit("Attack", facts.title, facts.source) for facts in ATTACKS.values()]
    found += [
        Credit(kind, entry.title[:1].upper() + entry.title[1:], entry.source)
        for kind, registry in (("Network", models), ("Data", datasets))
        for entry in registry
    ]
    return tuple(credit for credit in found if _YEAR.search(credit.source))
