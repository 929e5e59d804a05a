"""Patterns of paths (``data/**/*.dcm``) as automata: what can match below a folder is known without its path."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable, Sequence

__all__ = ["ANYTHING", "Places", "below", "is_match", "is_path_match", "parts_of_folder", "start"]

Places = frozenset[int]
"""Which parts of a pattern the next part of a path may match; empty: nothing matches below."""

ANYTHING = ("**",)


def start(parts: Sequence[str]) -> Places:
    return _with_empty_matches([0], parts)


def below(places: Places, name: str, parts: Sequence[str]) -> Places:
    """Where a folder `name` leads from a folder that is at `places` of a pattern."""
    stay = {place for place in places if parts[place] == "**"}
    step = {place + 1 for place in places - stay if fnmatch.fnmatchcase(name, parts[place])}
    return _with_empty_matches(stay | step, parts)


def is_match(places: Places, name: str, parts: Sequence[str]) -> bool:
    """Whether a file `name` in a folder that is at `places` matches the whole pattern."""
    last = len(parts) - 1
    return last in places and (parts[last] == "**" or fnmatch.fnmatchcase(name, parts[last]))


def is_path_match(path: str, parts: Sequence[str]) -> bool:
    *folders, name = path.split("/")
    places = start(parts)
    for folder in folders:
        places = below(places, folder, parts)
    return is_match(places, name, parts)


def parts_of_folder(path: str) -> list[str]:
    """The pattern of everything below a folder."""
    return [*(glob.escape(part) for part in path.split("/") if part), *ANYTHING]


def _with_empty_matches(places: Iterable[int], parts: Sequence[str]) -> Places:
    """``**`` stands for no folder, too."""
    reached: set[int] = set()
    waiting = list(places)
    while waiting:
        place = waiting.pop()
        if place < len(parts) and place not in reached:
            reached.add(place)
            if parts[place] == "**":
                waiting.append(place + 1)
    return frozenset(reached)
