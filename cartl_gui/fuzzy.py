"""Find a text by a few of its letters: every letter of a word typed stands in the text, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: What a letter is worth at the beginning of the text or of a word, and right after the letter before.
_FIRST, _WORD, _NEXT = 6.0, 4.0, 3.0
#: What each letter that is passed over costs, up to a limit.
_GAP, _LONGEST_GAP = 0.15, 12


@dataclass(frozen=True, slots=True)
class Match:
    """How well a pattern fits a text; `places` are the letters of the text that it meets."""

    score: float
    places: tuple[int, ...]


def match(pattern: str, text: str) -> Match | None:
    """Fit the words of a pattern, in any order and of any case, to a text; None if a word does not fit."""
    lower, total, places = text.lower(), 0.0, set[int]()
    if len(lower) != len(text):  # a letter whose small form is two letters; rare, and places would be wrong
        lower = text
    for word in pattern.lower().split():
        best = max(_fits(word, lower), key=lambda found: found.score, default=None)
        if best is None:
            return None
        total += best.score
        places.update(best.places)
    return Match(total - len(text) / 200, tuple(sorted(places)))


def _fits(word: str, text: str) -> Iterator[Match]:
    """The fit from each place where the word's first letter stands."""
    start = text.find(word[0])
    while start >= 0:
        places, place = [start], start
        for letter in word[1:]:
            place = text.find(letter, place + 1)
            if place < 0:
                return  # a later beginning would not find it either
            places.append(place)
        yield Match(_score(places, text), tuple(places))
        start = text.find(word[0], start + 1)


def _score(places: list[int], text: str) -> float:
    score, before = 0.0, None
    for place in places:
        score += 1
        if place == 0:
            score += _FIRST
        elif not text[place - 1].isalnum():
            score += _WORD
        if before is not None:
            score += _NEXT if place == before + 1 else -_GAP * min(_LONGEST_GAP, place - before)
        before = place
    return score
