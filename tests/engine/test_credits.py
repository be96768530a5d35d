"""The papers that the program follows."""

from __future__ import annotations

from engine.config import ATTACKS
from engine.credits import credit_list
from engine.pretraining import pretraining_methods
from engine.transfer import transfer_methods


def test_that_every_method_and_attack_with_a_paper_is_credited() -> None:
    credited = {(credit.kind, credit.title.lower()) for credit in credit_list()}
    for kind, registry in (("Pre-training", pretraining_methods), ("Transfer", transfer_methods)):
        assert {(kind, entry.title.lower()) for entry in registry if entry.source} <= credited
    papers = {facts.title.lower() for name, facts in ATTACKS.items() if name != "noise"}
    assert {("Attack", title) for title in papers} <= credited
    assert ("Data", "cifar-10") in credited


def test_that_what_follows_no_paper_is_left_out() -> None:
    titles = {credit.title for credit in credit_list()}
    assert not titles & {"Natural training", "Random noise", "Letters", "Image folder"}
