"""How a query is read: a tokenizer and a parser by recursive descent."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.config.axes import Keys, fields
from engine.events import RunInfo
from engine.query.conditions import (
    Chosen,
    Condition,
    Either,
    Every,
    Holds,
    Not,
    Says,
    Searched,
    Within,
    parts_of,
)
from engine.query.names import CHOICES, KEYS, PERCENT, SUGGESTED, are_numbers, setting_names, settings_called
from engine.query.values import UNITS, QueryError, last_digit, number, seconds, span

#: Terms to show to people who have not used queries yet, with what they mean.
EXAMPLES: tuple[tuple[str, str], ...] = (
    ("neft letters", "both words occur: in title, study, tags, methods, data, attack, state or id"),
    ('"AT, vanilla"', "these words in this order"),
    ("state:failed", "in this state: queued, running, paused, stopped, finished, failed, interrupted"),
    ("stage:transfer", "with this stage: pre-training, transfer, attack"),
    ("tag:paper is:star", "with this tag and a star; also is:archived, is:doubtful"),
    ("robust > 45 clean >= 90", "accuracies in percent"),
    ("lambda = 0.005 k < 3", "settings by symbol"),
    ("finetuning.epochs > 10", "or by name"),
    ("epsilon = 8/255", "ratios"),
    ("time > 10 min", "computing time, with s, min, h or d"),
    ("created > 2026-11-01", "dates; also today and yesterday"),
    ('study:"Letters to digits"', "texts with blanks in quotation marks"),
    ("-tag:old (k=2 or k=3)", "not, or, and brackets"),
)
_GREEK = {"λ": "lambda", "β": "beta", "1/λ": "1/lambda"}
_OPERATOR = re.compile(r"!=|<=|>=|[:=<>]")
_WORD = re.compile(r'(?:(?!!=)[^\s()":=<>])+')
#: A value may hold what is an operator elsewhere, as times of day do.
_VALUE = re.compile(r'[^\s()"]+')
_RESERVED = ("and", "or", "not")
_MAX_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was read."""

    condition: Condition

    def accepts(self, run: RunInfo | Searched) -> bool:
        """Whether it chooses a run."""
        return self.condition.accepts(run if isinstance(run, Searched) else Searched(run))

    @property
    def asks_for_archived(self) -> bool:
        """Whether it speaks of archived runs, which lists leave out otherwise."""
        return any(
            isinstance(part, Chosen) and part.key == "is" and "archived" in part.values
            for part in parts_of(self.condition)
        )


def parse_query(text: str) -> Query:
    """Read a query; an empty one chooses every run.

    Raises:
        QueryError: it cannot be read; says what was expected where, and names like the one that is not known.
    """
    return Query(_Parser(text).query())


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["word", "quoted", "operator", "(", ")", "-", "end"]
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    """Cut a query into tokens.

    Raises:
        QueryError: a quotation mark has no second one.
    """
    position, after_operator = 0, False
    while position < len(text):
        letter = text[position]
        operator = _OPERATOR.match(text, position)
        if letter.isspace():
            position += 1
            continue
        if letter == '"':
            end = text.find('"', position + 1)
            if end < 0:
                raise QueryError("Expected a second quotation mark after this one", position)
            token = _Token("quoted", text[position + 1 : end], position)
            length = end + 1 - position
        elif letter in "()":
            token, length = _Token("(" if letter == "(" else ")", letter, position), 1
        elif operator and not after_operator:
            token, length = _Token("operator", operator[0], position), len(operator[0])
        elif letter == "-" and not after_operator and text[position + 1 : position + 2].strip():
            token, length = _Token("-", letter, position), 1
        else:
            word = (_VALUE if after_operator else _WORD).match(text, position)
            assert word is not None  # every letter that begins something else was dealt with
            token, length = _Token("word", word[0], position), len(word[0])
        yield token
        position += length
        after_operator = token.kind == "operator"
    yield _Token("end", "", len(text))


class _Parser:
    """Reads a query by recursive descent."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def query(self) -> Condition:
        """The whole text."""
        if len(self._tokens) == 1:
            return Every(())
        found = self._either()
        if self._token.kind != "end":
            raise _refusal("a term", self._token)  # only a closing bracket ends alternatives before the end
        return found

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        if token.kind != "end":
            self._next += 1
        return token

    def _is(self, *words: str) -> bool:
        return self._token.kind == "word" and self._token.text.casefold() in words

    def _either(self) -> Condition:
        parts = [self._every()]
        while self._is("or"):
            self._take()
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _every(self) -> Condition:
        parts = [self._negated()]
        while self._token.kind not in ("end", ")") and not self._is("or"):
            if self._is("and"):
                self._take()
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _negated(self) -> Condition:
        negated = False
        while self._token.kind == "-" or (
            self._is("not") and self._tokens[self._next + 1].kind != "operator"
        ):
            self._take()
            negated = not negated
        term = self._term()
        return Not(term) if negated else term

    def _term(self) -> Condition:
        token = self._take()
        if token.kind == "(":
            return self._bracket(token)
        if self._token.kind == "operator" and token.kind == "word":
            return self._comparison(token, self._take())
        if self._token.kind == "operator" and token.kind == "quoted":
            raise _refusal("a key without quotation marks, such as study", token)
        if token.kind == "quoted" or (token.kind == "word" and token.text.casefold() not in _RESERVED):
            return Says(token.text.casefold())
        if token.kind == "operator":
            raise _refusal("a key such as state before it", token)
        raise _refusal("a term", token)

    def _bracket(self, opening: _Token) -> Condition:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise QueryError(f"Expected at most {_MAX_DEPTH} brackets within each other", opening.position)
        found = self._either()
        if self._take().kind != ")":
            raise QueryError("Expected a closing bracket for this one", opening.position)
        self._depth -= 1
        return found

    def _comparison(self, key: _Token, operator: _Token) -> Condition:
        name = _GREEK.get(key.text, key.text.casefold())
        settings = () if name in KEYS and name != "method" else settings_called(name)
        if name not in KEYS and not settings:
            raise QueryError(_unknown(key.text), key.position)
        value = self._take()
        if value.kind not in ("word", "quoted"):
            raise _refusal(
                f"a value after “{key.text} {operator.text}”, such as {_sample(name, settings)}", value
            )
        found: Condition
        if name in CHOICES:
            found = self._choice(name, operator, value)
        elif name in PERCENT or name in ("time", "created") or (settings and are_numbers(settings)):
            found = self._range(name, settings, operator, value)
        else:
            _require_equality(name, operator)
            found = Holds(name, settings, value.text.casefold(), operator.text != ":")
        return Not(found) if operator.text == "!=" else found

    def _choice(self, name: str, operator: _Token, value: _Token) -> Condition:
        _require_equality(name, operator)
        begun = value.text.casefold()
        close = {meant for word, meant in CHOICES[name].items() if word.startswith(begun)} if begun else set()
        if not close:
            raise _refusal(f"one of {', '.join(SUGGESTED[name])}", value)
        return Chosen(name, frozenset(close))

    def _range(self, name: str, settings: tuple[Keys, ...], operator: _Token, value: _Token) -> Condition:
        text = value.text
        if name == "created":
            first, last = span(text, value.position)
        elif name == "time":
            if text.replace(".", "", 1).isdigit() and self._token.text in UNITS:
                text += self._take().text
            first = last = seconds(text, value.position)
        else:
            text = text.removesuffix("%") if name in PERCENT else text
            first = last = number(text, value.position)
        within = functools.partial(Within, name, settings)
        match operator.text:
            case "<":
                return within(high=first, open_high=True)
            case "<=":
                return within(high=last, open_high=name == "created")
            case ">":
                return within(low=last, open_low=name != "created")
            case ">=":
                return within(low=first)
        if name == "created":
            return within(low=first, high=last, open_high=True)
        # Figures are shown rounded, so "= 45" is what reads 45; settings are written as they are.
        slack = 1e-9 * abs(first) if settings else last_digit(text) / 2
        return within(low=first - slack, high=first + slack)


def _require_equality(name: str, operator: _Token) -> None:
    if operator.text not in (":", "=", "!="):
        raise _refusal(f": or = after “{name}”, which is no number", operator)


def _refusal(expected: str, token: _Token) -> QueryError:
    found = "nothing more" if token.kind == "end" else f"“{token.text}”"
    return QueryError(f"Expected {expected}, found {found}", token.position)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.casefold(), [*KEYS, *setting_names()], n=3)
    advice = f"did you mean {' or '.join(close)}?" if close else "to search for it, use quotation marks"
    return f"There is no key or setting “{name}”; {advice}"


def _sample(name: str, settings: tuple[Keys, ...]) -> str:
    if settings:
        default = fields()[settings[0]].default
        return f"{default:.12g}" if are_numbers(settings) and isinstance(default, int | float) else '"pgd"'
    samples = {key: words[0] for key, words in SUGGESTED.items()} | dict.fromkeys(PERCENT, "45")
    return (samples | {"time": "10min", "created": "2026-11-01"}).get(name, '"two words"')
