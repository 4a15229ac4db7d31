"""What people may have meant by a name that nobody knows here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches

LONGEST_COMPARED = 48
MOST_COMPARED = 200
LIKENESS = 0.65  # of difflib's, from 0 to 1; below it `sort` is taken for `cursor`

# What the same thing is called by other tools, or in papers.
_SYNONYMS = {
    "algorithm": ("sampler",),
    "bayes": ("tpe",),
    "bayesian": ("tpe",),
    "bs": ("batch_size",),
    "categories": ("values",),
    "choices": ("values",),
    "concurrency": ("parallel",),
    "early_termination": ("pruner",),
    "eta": ("reduction_factor",),
    "glorot": ("xavier_uniform",),
    "goal": ("direction",),
    "he": ("kaiming_normal",),
    "learning_rate": ("lr",),
    "lower": ("low",),
    "max_concurrent_trials": ("parallel",),
    "max_epochs": ("epochs",),
    "max_evals": ("trials",),
    "max_trials": ("trials",),
    "method": ("sampler",),
    "metric": ("objective",),
    "metrics": ("objective",),
    "mode": ("direction", "most_frequent"),
    "n_epochs": ("epochs",),
    "n_jobs": ("parallel",),
    "n_trials": ("trials",),
    "none": ("constant",),
    "num_epochs": ("epochs",),
    "num_samples": ("trials",),
    "num_trials": ("trials",),
    "params": ("parameters",),
    "q": ("step",),
    "search_space": ("parameters",),
    "space": ("parameters",),
    "swish": ("silu",),
    "trials": ("candidates",),
    "upper": ("high",),
    "zscore": ("standard",),
}


def nearest(name: object, known: Collection[str], elsewhere: Collection[str] = ()) -> str:
    """The hint for an unknown name: the nearest known one, or all of them if none is near and they are few.

    Args:
        elsewhere: dotted names of other sections, one of which may have been meant to stand there.
    """
    near = closest(str(name), known, elsewhere)
    if near:
        return f"did you mean {near!r}?"
    return f"known here: {', '.join(map(printable, known))}" if len(known) <= 40 else ""


def closest(name: str, known: Collection[str], elsewhere: Collection[str] = ()) -> str | None:
    """The known name that was meant, if there is one: the same but for its spelling, what other tools call so, one with
    the same leaf, or one that looks alike.
    """
    # Comparing takes time in the square of the lengths, and people who send a thousand names get by without a hint.
    if len(name) > LONGEST_COMPARED or len(known) > MOST_COMPARED:
        return None
    plain = {_plain(each): each for each in known if len(each) <= LONGEST_COMPARED}
    for meant in _readings(_plain(name)):
        if found := plain.get(meant) or _same_leaf(meant, [*known, *elsewhere]):
            return found
    return next((plain[each] for each in get_close_matches(_plain(name), plain, n=1, cutoff=LIKENESS)), None)


def printable(key: str) -> str:
    """A key as it may stand in a sentence."""
    text = key if key.isprintable() else ascii(key)[1:-1]
    return text if len(text) <= 128 else f"{text[:127]}…"


def _readings(name: str) -> Iterator[str]:
    """The name, and what its leaf is called here if other tools call it so."""
    yield name
    section, dot, leaf = name.rpartition(".")
    for synonym in _SYNONYMS.get(leaf, ()):
        yield f"{section}{dot}{synonym}"


def _same_leaf(name: str, known: Collection[str]) -> str | None:
    """Of the known dotted names that end with the name's last part the one that looks most like it, else the first."""
    leaf = name.rpartition(".")[2]
    found = [each for each in known if "." in each and each.rpartition(".")[2] == leaf]
    return next(iter(get_close_matches(name, found, n=1, cutoff=LIKENESS) or found), None)


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")
