"""Links of Markdown that is shown elsewhere than it stands."""

import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
# in the repository -> in the site
BESIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
NOTEBOOKS = {f"examples/{name}.ipynb": f"tutorials/{name}.md" for name in ("quickstart", "cohort", "face", "own_data")}


def moved(text: str, folder: str, page: str) -> str:
    """Markdown of a file in `folder` of the repository, its links as those of `page` of the site; a file that is no
    page is named alone."""

    def link(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        if re.match(r"https?://|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, path))
        there = (BESIDE | NOTEBOOKS).get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        if there is None:
            return words if "`" in words or picture else f"{words} (`{place}`)" if words != place else f"`{place}`"
        return (
            f"{picture}[{words}]({os.path.relpath(there, posixpath.dirname(page) or '.')}{'#' * bool(anchor)}{anchor})"
        )

    # Only outside fenced code.
    parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
    return "".join(part if k % 2 else LINK.sub(link, part) for k, part in enumerate(parts))
