"""Parameters that other tools nest: each takes part only under some options of those around it."""

from __future__ import annotations

from typing import Any

from trialyard.importing.foreign import Parameters, Section

When = dict[str, list[Any]]  # options by the name of a parameter; all of them must be chosen


class Branches:
    """The parameters of a nested space by name. One of them may stand under several options, always with all of the
    same values; then it takes part under any of these.
    """

    def __init__(self) -> None:
        self._entries: Parameters = {}
        self._whens: dict[str, list[When]] = {}
        self._last: dict[str, tuple[Section, str]] = {}  # where each was given last, to be told

    def add(self, entry: Section, key: str, name: str, read: dict[str, Any], when: When) -> None:
        """Add a parameter that takes part under `when`, the options of all those around it.

        Args:
            entry, key: where it stands.
        """
        if self._entries.setdefault(name, read) != read or bool(self._whens.get(name, [when])[0]) != bool(when):
            entry.wrong(key, f"gives {name} another range or other parameters around it than an entry before it", HINT)
            return
        self._whens.setdefault(name, []).append(when)
        self._last[name] = (entry, key)

    def parameters(self) -> Parameters:
        """All of them, with the fewest conditions that say the same."""
        whens = {name: self._joined(name) for name in self._entries}
        return {
            name: {**read, **({"when": when} if (when := _without_implied(whens[name], whens)) else {})}
            for name, read in self._entries.items()
        }

    def _joined(self, name: str) -> When:
        """One condition in the place of several, where there is one that holds for the same trials."""
        whens = list[When]()
        for when in self._whens[name]:
            _join(when, whens)
        if len(whens) > 1:
            message = f"{name} takes part under options of several parameters that no single condition tells apart"
            entry, key = self._last[name]
            entry.wrong(key, message, HINT)
        return whens[0]


HINT = "rename one of them"


def _join(when: When, whens: list[When]) -> None:
    """Add a condition to others, as one with whichever differs from it by the options of a single parameter."""
    for place, known in enumerate(whens):
        if known.keys() != when.keys():
            continue
        other = [name for name in when if not _covers(known[name], when[name]) or not _covers(when[name], known[name])]
        if len(other) < 2:
            del whens[place]
            added = {name: [each for each in when[name] if each not in known[name]] for name in other}
            return _join(known | {name: known[name] + added[name] for name in other}, whens)
    whens.append(when)
    return None


def _without_implied(when: When, whens: dict[str, When]) -> When:
    """Without what holds wherever the other parameters take part that are named."""
    return {
        name: options
        for name, options in when.items()
        if not any(name in whens[other] and _covers(options, whens[other][name]) for other in when if other in whens)
    }


def _covers(options: list[Any], fewer: list[Any]) -> bool:
    return all(each in options for each in fewer)
