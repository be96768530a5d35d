"""A small language for choosing runs: `robust > 45 stage:transfer -tag:old`, in the window and in `cartl runs --filter`.

A query is made of terms, all of which must hold; `or` stands between alternatives, `not` or `-` before what must not
hold, brackets around what belongs together. A term is a word, which occurs somewhere in what is written about the run,
or a key, an operator (`:` holds, `=` is, `!=`, `<`, `<=`, `>`, `>=`) and a value. Capitals make no difference.

Keys are those of `KEYS` and every setting: by its dotted name (`finetuning.epochs`), by its last part, which then means
every setting that ends so (`epochs`), or by its symbol (`k`, `lambda`, `beta`). Settings are those of the run and of the
runs before it that have an effect. Accuracies and progress are in percent, and a comparison with something that a run
does not have never holds. Loads neither torch nor h5py.
"""

from engine.query.completion import completed, completions
from engine.query.conditions import Searched
from engine.query.names import KEYS
from engine.query.parser import EXAMPLES, Query, parse_query
from engine.query.values import QueryError

__all__ = ["EXAMPLES", "KEYS", "Query", "QueryError", "Searched", "completed", "completions", "parse_query"]
