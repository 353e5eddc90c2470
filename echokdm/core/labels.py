"""What each pixel of an apical 4-chamber view shows: the numbers of CAMUS, and after them the right heart's."""

from enum import IntEnum


class Label(IntEnum):
    """Of a pixel, as label images hold it and in the order of the segmenter's classes (Leclerc et al., IEEE TMI 2019,
    for 0 to 3)."""

    BACKGROUND = 0
    LV = 1
    MYOCARDIUM = 2
    LA = 3
    RV = 4
    RA = 5
