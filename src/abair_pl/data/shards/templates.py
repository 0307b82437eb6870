"""Templates of file names, by which the two images of a pair find each other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_GROUP = re.compile(r"<([a-z]+|\*)(?::([^<>]+))?>")
_NUMBER = re.compile(r"(0\d)?d")


@dataclass(frozen=True)
class Template:
    """The path of an image in its data set without suffix, with groups for what differs.

    ``<name>`` stands for the shortest text without slash that fits, ``<n:04d>`` for a number and how missing ones are
    written, ``<name:a|b>`` for a choice or any other regular expression, and ``<*>`` or ``<*:a|b>`` for what does not
    matter. Letter case does not either.

    Examples:
        >>> Template("hazy/<scene>_<haze>").match("hazy/0019_0.8_0.2")
        {'scene': '0019', 'haze': '0.8_0.2'}
        >>> Template("gt/<scene>").fill({"scene": "0019", "haze": "0.8_0.2"})
        'gt/0019'
        >>> Template("norain-<n:03d>").fill({"n": "7"})
        'norain-007'
    """

    text: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the groups that matter."""
        return tuple(group[1] for group in _GROUP.finditer(self.text) if group[1] != "*")

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        pattern, end = "", 0
        for group in _GROUP.finditer(self.text):
            pattern += re.escape(self.text[end : group.start()])
            kind = group[2] or "[^/]+?"
            inner = r"\d+" if _NUMBER.fullmatch(kind) else kind
            pattern += f"(?:{inner})" if group[1] == "*" else f"(?P<{group[1]}>{inner})"
            end = group.end()
        return re.compile(pattern + re.escape(self.text[end:]), re.IGNORECASE | re.DOTALL)

    def match(self, stem: str) -> dict[str, str] | None:
        """The groups of a path without suffix; None where it does not fit."""
        match = self._regex.fullmatch(stem)
        return match.groupdict() if match else None

    @cached_property
    def _varying(self) -> tuple[bool, ...]:
        return tuple(bool(Template(place).names) for place in self.text.split("/"))

    def key(self, stem: str) -> str:
        """A sample's name: the folders and the name that tell it from others, without what ends keys in WebDataset.

        Examples:
            >>> Template("<sequence>/blur/<frame>").key("GOPR0372_07_00/blur/000047")
            'GOPR0372_07_00__000047'
        """
        places = stem.split("/")
        if len(places) == len(self._varying):
            places = [place for place, varies in zip(places, self._varying, strict=True) if varies]
        else:
            places = places[self._varying.index(True) :]
        return "__".join(places).replace(".", "_")

    def choices(self, name: str) -> list[str]:
        """The texts that a group of choices may have."""
        return next(group[2].split("|") for group in _GROUP.finditer(self.text) if group[1] == name)

    def fill(self, groups: Mapping[str, str]) -> str:
        """The path of given groups, with ``*`` for others."""

        def text(group: re.Match[str]) -> str:
            value = groups.get(group[1], "*")
            return format(int(value), group[2]) if value.isdecimal() and _NUMBER.fullmatch(group[2] or "") else value

        return _GROUP.sub(text, self.text)
