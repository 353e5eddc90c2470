"""An audit as files: report.html with every picture inside, audit.json, pairs.csv, worst-pairs.png. Nothing names a
file or a patient."""

import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from echokdm.cohort.audit.result import COPY, Audit, Picture
from echokdm.io.atomic import atomic_folder
from echokdm.report.pages import data_uri, render
from echokdm.report.synthesis import as_json, figures, rounded

BY_DESIGN, OTHERS, REFERENCE, COPIES = "#c2410c", "#1d6fb8", "#52606d", "#b91c1c"


def write_audit(
    audit: Audit, out: str | Path, *, overwrite: bool = False, command: str = "echokdm audit REAL SYNTH"
) -> Path:
    """Write the four files into the folder `out` and return it. Raises OutputError as `io.atomic.atomic_folder`
    does."""
    with atomic_folder(out, "audit", overwrite) as folder:
        audit.pairs.assign(**{flag: audit.pairs[flag].astype(int) for flag in ("edited", "copy", "mirrored")}).to_csv(
            folder / "pairs.csv", index=False, float_format="%.4f", lineterminator="\n"
        )
        (folder / "audit.json").write_text(as_json(record(audit, command)), encoding="utf-8")
        (folder / "worst-pairs.png").write_bytes(figures.png(stacked([pair_picture(p) for p in audit.pictures])))
        (folder / "report.html").write_text(report_html(audit, command), encoding="utf-8")
    return Path(out)


def record(audit: Audit, command: str) -> dict[str, Any]:
    """All figures of an audit for audit.json: no path, no name, no time."""
    return {
        "clean": audit.clean,
        "verdict": audit.verdict,
        "command": command,
        "copies": list(audit.copies["clip"]),
        "leaks": audit.leaks,
        "unread_synthetic_clips": audit.unread,
        "by_design": audit.by_design,
        "tests": [
            {
                "name": "C_T (Meehan, Chaudhuri and Dasgupta, 2020)",
                "space": test.space,
                "z": rounded(test.statistic),
                "p_two_sided": test.p,
                "synthetic": test.synthetic,
                "reference": test.reference,
            }
            for test in audit.tests
        ],
        "planted_copies": {
            "count": len(audit.controls),
            "found": rounded(audit.found),
            "lowest": rounded(audit.controls.min()),
        },
        "motion_agreement": {name: _spread(values) for name, values in _groups(audit, "motion_agreement").items()},
        "pixel_distance": {name: _spread(values) for name, values in _groups(audit, "pixel_distance").items()},
        "feature_distance": {name: _spread(values) for name, values in _groups(audit, "feature_distance").items()},
        "how": audit.record | {"echokdm": version("echokdm"), "torch": torch.__version__},
    }


def report_html(audit: Audit, command: str) -> str:
    """The self-contained page."""
    columns = [
        "clip",
        "edited",
        "nearest",
        "nearest_split",
        "from_own_source",
        "motion_agreement",
        "pixel_distance",
        "feature_distance",
    ]
    return render(
        "audit.html.j2",
        verdict=audit.verdict,
        clean=audit.clean,
        copies=audit.copies[columns].to_dict("records"),
        leaks=audit.leaks,
        tests=audit.tests,
        unread=audit.unread,
        planted=len(audit.controls),
        found=f"{audit.found:.0%}",
        lowest=f"{audit.controls.min():.2f}",
        limit=f"{COPY:g}",
        histograms=data_uri(histograms(audit)),
        command=command,
        closest=f"{_highest(audit.reference['other_motion_agreement']):.2f}",
        pictures=[{"title": p.title, "uri": data_uri(figures.png(pair_picture(p)))} for p in audit.pictures],
        facts=[(name.replace("_", " "), value) for name, value in audit.record.items()],
        version=version("echokdm"),
    )


def histograms(audit: Audit) -> bytes:
    """PNG: motion agreement and both distances, of synthetic clips to their own source, to other patients, and of real
    clips to others."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        ("motion_agreement", "motion agreement"),
        ("pixel_distance", "pixel distance"),
        ("feature_distance", "feature distance"),
    )
    for axes, (column, label) in zip(figure.subplots(1, 3), panels, strict=True):
        groups = _groups(audit, column)
        everything = np.concatenate(list(groups.values()))
        edges = np.linspace(everything.min(), everything.max() + 1e-6, 31)
        for (name, values), colour in zip(groups.items(), (BY_DESIGN, OTHERS, REFERENCE, COPIES), strict=True):
            if len(values):
                axes.hist(
                    values,
                    edges,
                    color=colour,
                    alpha=0.55,
                    label=f"{name} ({len(values)})",
                    weights=np.full(len(values), 100 / len(values)),
                )
        if column == "motion_agreement":
            axes.axvline(COPY, color="#1d2733", linewidth=1, linestyle="--")
            axes.legend(frameon=False, fontsize=7)
        axes.set(xlabel=label, ylabel="% of clips")
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _groups(audit: Audit, column: str) -> dict[str, np.ndarray]:
    """Values by what they compare. Copies stand by themselves, so that they don't pass for what is so by design."""
    pairs, other = audit.pairs, f"other_{column}"
    genuine = pairs[~pairs["copy"]]
    groups = {
        "synthetic to its own source": genuine[column][genuine["from_own_source"] == "yes"],
        "synthetic to other patients": genuine[other],
        "real to other patients": audit.reference[other],
        "copies": pairs[column][pairs["copy"]],
    }
    return {name: values.dropna().to_numpy(float) for name, values in groups.items()}


def _spread(values: np.ndarray) -> dict[str, Any]:
    if not len(values):
        return {"count": 0}
    low, middle, high = np.quantile(values, (0.0, 0.5, 1.0))
    return {"count": len(values), "lowest": rounded(low), "median": rounded(middle), "highest": rounded(high)}


def _highest(values: Any) -> float:
    known = values.dropna()
    return float(known.max()) if len(known) else float("nan")


def pair_picture(pair: Picture) -> Image.Image:
    """Synthetic frames over the real frames they were matched to, over their difference, twice as strong."""
    difference = ((pair.synthetic - pair.real).abs() * 2 * (pair.synthetic > 0) * (pair.real > 0)).clamp(0, 1)
    return figures.labelled_rows(
        [(pair.label, pair.synthetic), (pair.real_label, pair.real), ("difference", difference)]
    )


def stacked(pictures: list[Image.Image], gap: int = 14) -> Image.Image:
    """Pictures below one another on white."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height + gap for p in pictures) - gap), "white")
    y = 0
    for picture in pictures:
        sheet.paste(picture, (0, y))
        y += picture.height + gap
    return sheet
