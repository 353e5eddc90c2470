"""YAML to plain values: texts, numbers that Python's own types hold, truth values, nothing, lists and mappings of
texts."""

import math
from typing import Any

import yaml

from echokdm.core.errors import ConfigError, one_sentence

_LONGEST = 2**17  # characters; the longest shipped configuration has a few thousand
_DEEPEST = 20
_INTEGERS = 2**63  # what a seed or a count may be


class _Loader(yaml.SafeLoader):
    """Without aliases: a few nested ones stand for more values than memory holds. Deep nesting ends where it begins,
    being slow to read."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth > _DEEPEST or self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem_mark=self.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(text: str, sentence: str) -> Any:
    """The values of a YAML text. Raises ConfigError(sentence): no YAML, or something that no configuration holds.

    That is an impossible date, a tag whose value fails, a number beyond 64 bits or none, an alias, or nesting beyond
    `_DEEPEST`.
    """
    with one_sentence(sentence, ConfigError):
        if len(text) > _LONGEST:
            raise ValueError
        try:
            values = _Loader(text).get_single_data()
        except yaml.MarkedYAMLError as error:
            if error.problem_mark is None or "\n" not in text:
                raise
            raise ConfigError(f"{sentence[:-1]}: look at line {error.problem_mark.line + 1}.") from None
        _check(values)
    return values


def _check(value: Any) -> None:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError
        for item in value.values():
            _check(item)
    elif isinstance(value, list):
        for item in value:
            _check(item)
    elif isinstance(value, (int, float)):
        if not (math.isfinite(value) and (isinstance(value, float) or abs(value) < _INTEGERS)):
            raise ValueError
    elif isinstance(value, str):
        if "\0" in value:
            raise ValueError
    elif value is not None:  # dates, sets, bytes
        raise ValueError
