"""What options that are texts mean."""

from echokdm.core.errors import ConfigError

MOST_DRAGGED = 1000  # key-points of one --drag; learned ones are as many at most


def parse_drag(texts: list[str]) -> dict[int, tuple[float, float]]:
    """`i:dx,dy` or `i-j:dx,dy` texts -> {i: (dx, dy)}. Raises ConfigError for another form or a point named twice."""
    drag: dict[int, tuple[float, float]] = {}
    for text in texts:
        try:
            index, _, offset = text.partition(":")
            dx, dy = (float(part) for part in offset.split(","))
            first, _, last = index.rpartition("-")
            keys = range(int(first or index), int(last if first else index) + 1)
            if not 1 <= len(keys) <= MOST_DRAGGED:
                raise ValueError
        except ValueError:
            raise ConfigError(
                "--drag takes i:dx,dy or i-j:dx,dy, such as 12:-4,0 (point 12 moves 4 pixels to the left), not "
                f"{text!r}."
            ) from None
        if twice := [key for key in keys if key in drag]:
            raise ConfigError(f"--drag names point {twice[0]} twice.")
        drag |= dict.fromkeys(keys, (dx, dy))
    return drag


def parse_numbers(flag: str, text: str) -> list[float]:
    """`0,0.5,1` -> numbers. Raises ConfigError for another form."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{flag} takes numbers with commas between, such as 0,0.5,1, not {text!r}.") from None


def parse_line(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """`x0,y0,x1,y1` -> both ends (x, y). Raises ConfigError for another form or a line without a length."""
    numbers = parse_numbers("--m-mode", text)
    if len(numbers) != 4 or numbers[:2] == numbers[2:] or not all(0 <= n < 65_536 for n in numbers):
        raise ConfigError(f"--m-mode takes the two ends of a line in pixels, such as 40,90,150,100, not {text!r}.")
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])
