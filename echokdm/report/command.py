"""The command that repeats a run."""

from typing import Any


def repeatable(name: str, **options: Any) -> str:
    """The command as run.json keeps it: files by placeholder, what was left to its default left out."""
    words = ["echokdm", name]
    for key, value in options.items():
        flag = "--" + key.replace("_", "-")
        if value is None or value is False:
            continue
        if key == "clip":
            words.append(str(value))
        elif value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [word for item in value for word in (flag, str(item))]
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join(words)
