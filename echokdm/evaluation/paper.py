"""The paper's tables in form (Oh et al., KDM: Tables 1 to 5 and Fig. 12), filled with our own scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from echokdm.evaluation.held_out import (
    CARRIED,
    ED_TO_ES,
    K2F,
    KDM,
    NO_EDIT,
    NO_F2I,
    NO_K2F,
    OF_WARP,
    OWN_WARP,
    RANDOM,
    TARGET,
    TPS,
    TRUE_WARP,
)
from echokdm.evaluation.resynthesis import THIRDS
from echokdm.metrics.intervals import Interval, difference_interval, mean_interval, ratio_interval
from echokdm.metrics.tables import Cell, Table

METHODS = (NO_EDIT, TPS, NO_F2I, NO_K2F, KDM)
INTERVALS = "In brackets: 95 % intervals by bootstrap over patients."

QUOTED = (
    Table(
        "Quoted: the paper's own Table 3, echocardiography (other data, 224 px)",
        ("MSE_img", "LPIPS_alx", "LPIPS_vgg"),
        (
            ("w.o. F2I-net", ("0.0121", "0.1980", "0.3028")),
            ("w.o. K2F-net", ("0.0268", "0.2375", "0.3119")),
            ("Ours", ("0.0124", "0.1739", "0.2645")),
            ("ratio ours / w.o. F2I", ("1.02", "0.878", "0.874")),
            ("ratio ours / w.o. K2F", ("0.463", "0.732", "0.848")),
        ),
        "Oh et al., Key-point Guided Deformable Image Manipulation Using Diffusion Model, Table 3; the ratios are of its figures.",
    ),
    Table(
        "Quoted: the paper's own Tables 4 and 5, echocardiography (other data, 224 px)",
        ("MSE_img", "LPIPS_alx", "LPIPS_vgg", "MAE px", "RMSE px"),
        (
            ("K2F-net", ("0.0121", "0.1980", "0.3028", "2.231", "3.471")),
            ("OF-net", ("0.0014", "0.1128", "0.2231", "-", "-")),
        ),
        "The same, Tables 4 and 5; the errors are of K2F-net's flow against OF-net's.",
    ),
)


def score_names(images: pd.DataFrame) -> list[str]:
    """The image scores that a long table has, in the paper's order."""
    return [
        "MSE_img",
        *(["MD"] if "MD" in images else []),
        *sorted(c for c in images if c.startswith("LPIPS_")),
        "SSIM",
    ]


def _column(images: pd.DataFrame, pair: str, method: str, score: str) -> pd.Series:
    rows = images[(images["pair"] == pair) & (images["method"] == method) & images["strength"].isna()]
    return rows.set_index("patient")[score]


def compared(
    images: pd.DataFrame, pair: str, first: str, second: str, score: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One score of two methods on the same pairs: (values, values, patients), each (N,)."""
    both = pd.concat([_column(images, pair, m, score) for m in (first, second)], axis=1, join="inner")
    return both.iloc[:, 0].to_numpy(float), both.iloc[:, 1].to_numpy(float), both.index.to_numpy()


def _method_table(images: pd.DataFrame, pair: str, title: str) -> Table:
    present = [m for m in (*METHODS, TARGET) if m in set(images["method"])]
    names = score_names(images)
    rows = []
    for method in present:
        cells: list[Cell] = []
        for name in names:
            values = _column(images, pair, method, name)
            cells.append(mean_interval(values, values.index))
        if pair == ED_TO_ES:
            error = (_column(images, pair, method, "EF") - _column(images, pair, method, "EF true")).abs()
            cells.append(mean_interval(error, error.index))
        cells.append(f"{100 * _column(images, pair, method, 'MD').notna().mean():.1f} %")
        rows.append((method, tuple(cells)))
    columns = (*names, *(["EF error, points"] if pair == ED_TO_ES else []), "LV found")
    return Table(
        title,
        tuple("MD, px" if c == "MD" else c for c in columns),
        tuple(rows),
        f"{INTERVALS} MD and EF: key-points found again by the bundle's judge, against the phantom's; '{TARGET}' is what "
        "it is off by on the phantom's own frame.",
    )


def _contrast_table(images: pd.DataFrame) -> Table:
    names = score_names(images)
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for pair in (ED_TO_ES, RANDOM):
        for other in METHODS[:-1]:
            if other not in set(images["method"]):
                continue
            columns = [compared(images, pair, KDM, other, name) for name in names]
            rows.append((f"{pair}: KDM - {other}", tuple(difference_interval(a, b, p) for a, b, p in columns)))
            rows.append((f"{pair}: KDM / {other}", tuple(ratio_interval(a, b, p) for a, b, p in columns)))
    return Table(
        "KDM against each other method, pair by pair",
        tuple(names),
        tuple(rows),
        f"Differences and ratios of means over the same pairs; below zero, or below one, KDM is better (SSIM: above). {INTERVALS}",
    )


def _flow_table(flows: pd.DataFrame) -> Table:
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for region in ("heart", "sector"):
        for (name, against), part in flows[flows["region"] == region].groupby(["flow", "against"], sort=False):
            patients = part["patient"]
            cells = [mean_interval(part[c], patients) for c in ("MAE", "RMSE", "EPE")]
            rows.append(
                (f"{region}: {name} against {against}", (*cells, ratio_interval(part["EPE"], part["motion"], patients)))
            )
    return Table(
        "Flows, px (the paper's Table 5 in form)",
        ("MAE", "RMSE", "EPE", "EPE / mean motion"),
        tuple(rows),
        f"Both kinds of pairs. MAE, RMSE: over dx and dy; EPE: Euclidean. The heart is where the target's labels are. {INTERVALS}",
    )


def _warp_table(images: pd.DataFrame) -> Table:
    names = [n for n in score_names(images) if n != "MD"]
    rows = []
    for method, label in (
        (OWN_WARP, K2F),
        (NO_F2I, CARRIED),
        (OF_WARP, "OF-net (saw the target)"),
        (TRUE_WARP, "true flow"),
    ):
        part = images[(images["method"] == method) & images["strength"].isna()]
        if len(part):
            rows.append((label, tuple(mean_interval(part[n], part["patient"]) for n in names)))
    return Table(
        "The source warped by each flow (the paper's Table 4 in form)",
        tuple(names),
        tuple(rows),
        f"Both kinds of pairs. {INTERVALS}",
    )


def _strength_table(images: pd.DataFrame) -> Table | None:
    part = images[images["strength"].notna()]
    if not len(part):
        return None
    names = [n for n in score_names(images) if n != "MD"]
    rows = [
        (f"k = {k:g} T", tuple(mean_interval(rows[n], rows["patient"]) for n in names))
        for k, rows in part.groupby("strength")
    ]
    return Table(
        "From which noise F2I-net starts (the paper's Fig. 12)",
        tuple(names),
        tuple(rows),
        f"ED to ES; k = 0 is the warp alone, k = T starts from noise. {INTERVALS}",
    )


def phantom_tables(images: pd.DataFrame, flows: pd.DataFrame) -> list[Table]:
    """The tables of `metrics.held_out.score_pairs`' long tables."""
    tables = [
        _method_table(
            images, ED_TO_ES, "Held-out phantoms, end-diastole to end-systole (the paper's Tables 1 to 3 in form)"
        ),
        _method_table(images, RANDOM, "Held-out phantoms, random pairs of frames"),
        _contrast_table(images),
        _flow_table(flows),
        _warp_table(images),
        _strength_table(images),
    ]
    return [t for t in tables if t is not None]


def clip_tables(scores: pd.DataFrame, clips: Sequence[str]) -> list[Table]:
    """The tables of `evaluation.resynthesis.score_resynthesis`' long tables, with a column `clip` that names each."""
    names = score_names(scores)
    columns = tuple("MD, px" if c == "MD" else c for c in names)
    note = "Each clip's motion made again from its end-diastolic frame; that frame itself is left out. MD is to the clip's own key-points."
    tables = []
    for clip in clips:
        rows: list[tuple[str, tuple[Cell, ...]]] = []
        own = scores[scores["clip"] == clip]
        for third in (*THIRDS, "whole"):
            part = own if third == "whole" else own[own["third"] == third]
            for method in [m for m in METHODS if m in set(own["method"])]:
                frames = part[part["method"] == method]
                rows.append((f"{third}: {method}", tuple(_plain(frames[n]) for n in names)))
        tables.append(Table(f"Re-synthesis of {clip}, by third of the beat", columns, tuple(rows), note))
    if len(clips) > 1:
        rows = [
            (m, tuple(mean_interval(part[n], part["clip"]) for n in names))
            for m in METHODS
            if len(part := scores[scores["method"] == m])
        ]
        tables.append(
            Table(
                "Re-synthesis, all clips",
                columns,
                tuple(rows),
                f"{note} In brackets: 95 % intervals by bootstrap over clips.",
            )
        )
    return tables


def _plain(values: pd.Series) -> Interval:
    """A mean over frames of one clip, which has no interval over patients."""
    mean = float(values.mean()) if values.notna().any() else np.nan
    return Interval(mean, mean, mean, int(values.notna().sum()), 1)
