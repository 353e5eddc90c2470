"""YAML to validated configuration: data only, unknown keys named with their nearest neighbour."""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from echokdm.core.errors import ConfigError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.core.yaml_values import parse_yaml

Model = TypeVar("Model", bound=BaseModel)

_KEY = re.compile(r"[\w-]+(\.[\w-]+)*")
_DEEPEST = 8  # names of an override: no configuration is nested further


def load_config(path: Path, model: type[Model], overrides: list[str] | None = None) -> Model:
    """Read `path`, apply overrides such as "k2f.steps=100", validate. Raises ConfigError with one clear sentence."""
    values = read_values(path)
    for override in overrides or []:
        apply_override(values, override)
    return validate(values, model, called("The configuration", path))


def read_values(path: Path, shipped: str = "configs") -> dict[str, Any]:
    """The keys and values of a YAML, not yet validated. shipped: the folder to look in. Raises ConfigError where it is
    none."""
    file = called("The configuration", path)
    if not check_plain(path, ConfigError).is_file():
        raise ConfigError(f"{file} does not exist; the shipped ones are in the folder {shipped}.")
    with one_sentence(f"{file} can't be read as text: check its permissions, and save it as UTF-8.", ConfigError):
        text = path.read_text(encoding="utf-8")
    values = parse_yaml(
        text, f"{file} is not valid YAML, or holds a date, a tag, an alias or a number that no configuration has."
    )
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds no mapping of keys to values.")
    return values


def validate(values: dict[str, Any], model: type[Model], source: str) -> Model:
    """Build `model` from plain values; ConfigError names the first fault, for an unknown key with the nearest known
    one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(p) for p in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _known_keys(model, fault["loc"][:-1])
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, 1, 0.0)
            raise ConfigError(
                f"{source} has an unknown key '{place}'; did you mean '{near[0] if near else ''}'?"
            ) from None
        raise ConfigError(f"{source}: '{place}': {fault['msg'][0].lower()}{fault['msg'][1:]}.") from None


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set "a.b=value" in nested values, in place. Raises ConfigError for another form; never quotes a value, which may
    be a path."""
    key, equals, text = override.partition("=")
    *path, last = key.split(".")
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(
            "An override reads a.b=value, such as f2i.steps=100: names of letters, digits, - and _, then =."
        )
    if len(path) > _DEEPEST:
        raise ConfigError("An override reads a.b=value, not so many names deep.")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"The override of '{_short(key)}' reaches into '{_short(part)}', which is no mapping.")
    values[last] = parse_yaml(
        text, f"The override of '{_short(key)}' has no valid value: a text, a number or a list is needed."
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."


def _known_keys(model: type[BaseModel], location: tuple) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
