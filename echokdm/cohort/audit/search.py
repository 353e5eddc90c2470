"""Each clip's nearest real neighbours: a quick look at all of them, then a careful one at those that may be.

Real clips are read a second time, one at a time, so that memory holds sketches alone.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from echokdm.cohort.audit.clips import STEP, Opened, Sketch
from echokdm.cohort.audit.result import COPY
from echokdm.ops.clip_alignment import Match, compare_clips, texture

CANDIDATES = 16  # by thumbnail, and as many by features, that are compared frame by frame


class Likeness:
    """How like the real clips a clip is at a glance, the more like of both ways round. Features are centred by the real
    clips' mean."""

    def __init__(self, reals: Sequence[Sketch]) -> None:
        self._thumbnails = torch.cat([clip.thumbnail[:1] for clip in reals])
        features = torch.cat([clip.features[:1] for clip in reals])
        self._mean = features.mean(0)
        self._features = F.normalize(features - self._mean, dim=1)

    def pixels(self, query: Sketch) -> np.ndarray:
        """Correlation (R,) of the thumbnails."""
        return (query.thumbnail @ self._thumbnails.T).amax(0).numpy()

    def features(self, query: Sketch) -> np.ndarray:
        """Correlation (R,) of the features."""
        return (F.normalize(query.features - self._mean, dim=1) @ self._features.T).amax(0).numpy()

    def candidates(self, query: Sketch, allowed: np.ndarray) -> set[int]:
        """Places of the `CANDIDATES` most like by either among those `allowed` (R,)."""
        places = np.flatnonzero(allowed)
        scores = (self.pixels(query), self.features(query)) if len(places) else ()
        return {
            int(place) for score in scores for place in places[np.argsort(-score[places], kind="stable")[:CANDIDATES]]
        }


def nearest(matches: Mapping[int, Match]) -> int:
    """The clip that moves alike, else the one that looks most alike."""
    return max(matches, key=lambda place: (matches[place].motion >= COPY, matches[place].appearance))


def search(
    queries: Sequence[Sketch],
    wanted: Sequence[set[int]],
    open_real: Callable[[int], Opened],
    progress: Callable[[int, int], None],
) -> list[dict[int, Match]]:
    """For each query the match with every real clip that it wants. open_real: a real clip by its place. progress:
    (done, of how many)."""
    matches: list[dict[int, Match]] = [{} for _ in queries]
    asked: dict[int, list[int]] = {}
    for i, places in enumerate(wanted):
        for place in places:
            asked.setdefault(place, []).append(i)
    for done, place in enumerate(sorted(asked), 1):
        progress(done, len(asked))
        clip = open_real(place)
        seen = texture(clip.frames, clip.sector)
        for i in asked[place]:
            query = queries[i].query
            assert query is not None
            matches[i][place] = compare_clips(query.texture.float() / STEP, query.times, seen, clip.fps)
    return matches
