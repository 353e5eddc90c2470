"""YAML to validated configuration: data only, unknown keys named with their nearest neighbour."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from echokdm.core.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: Path, model: type[Model], overrides: list[str] | None = None) -> Model:
    """Read `path`, apply overrides such as "k2f.steps=100", validate. Raises ConfigError with one clear sentence."""
    values = read_values(path)
    for override in overrides or []:
        apply_override(values, override)
    return validate(values, model, path.name)


def read_values(path: Path, shipped: str = "configs") -> dict[str, Any]:
    """The keys and values of a YAML, not yet validated. shipped: the folder to look in. Raises ConfigError where it is none."""
    if not path.is_file():
        raise ConfigError(f"There is no configuration {path.name}; the shipped ones are in the folder {shipped}.")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not valid YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name} holds no mapping of keys to values.")
    return values


def validate(values: dict[str, Any], model: type[Model], source: str) -> Model:
    """Build `model` from plain values; ConfigError names the first fault, for an unknown key with the nearest known one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(p) for p in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _known_keys(model, fault["loc"][:-1])
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, 1, 0.0)
            raise ConfigError(f"{source} has an unknown key '{place}'; did you mean '{near[0] if near else ''}'?") from None
        raise ConfigError(f"{source}: '{place}': {fault['msg'][0].lower()}{fault['msg'][1:]}.") from None


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set "a.b=value" in nested values, in place. Raises ConfigError for another form."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"An override reads a.b=value, not '{override}'.")
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"The override '{override}' reaches into '{part}', which is no mapping.")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"The override '{override}' has no valid value.") from None


def _known_keys(model: type[BaseModel], location: tuple) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
