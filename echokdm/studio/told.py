"""What the page is told, as JSON."""

from typing import Any

import numpy as np

from echokdm.echo.synthesis import Synthesis
from echokdm.ops.timing import heart_rate
from echokdm.report.figures import sector_box
from echokdm.report.pages import data_uri
from echokdm.studio.edits import Change
from echokdm.studio.heart import OUTLINES
from echokdm.studio.pictures import m_mode_png, sector_jpeg
from echokdm.studio.session import Session


def state(session: Session) -> dict[str, Any]:
    """All of a session, which the page draws after each step: what is asked, outlines, curves, and what the clip is."""
    asked, heart, history = session.asked, session.heart, session.history
    source, trajectory = asked.source.heart, asked.trajectory
    rows, columns = sector_box(np.asarray(source.sector.mask))
    height, width = source.clip.size
    return {
        "clip": {
            "frames": len(source.clip),
            "fps": source.clip.fps,
            "width": width,
            "height": height,
            "fps_assumed": bool(source.clip.meta.get("fps_assumed")),
            "sureness": heart.found.sureness,
            "doubt": heart.found.doubt,
            "heart_rate": heart_rate(source.keypoints, source.beats, source.clip.fps),
            "box": [
                columns.start,
                rows.start,
                min(columns.stop, width) - columns.start,
                min(rows.stop, height) - rows.start,
            ],
        },
        "edit": asked.edit.model_dump(exclude={"outlines"}),
        "corrected": sorted(asked.edit.outlines),
        "undo": history.at,
        "redo": len(history.steps) - 1 - history.at,
        "fps": trajectory.fps,
        "picks": trajectory.frames.tolist(),
        "beats": trajectory.beats,
        "ed": trajectory.ed,
        "es": trajectory.es,
        "outlines": {
            "source": _pixels(source.keypoints_source[trajectory.frames]),
            "result": _pixels(np.asarray(source.model.to_source(trajectory.keypoints))),
        },
        "m_mode": heart.line(asked.edit, asked.source, trajectory),
        "curves": heart.curves(asked.source, trajectory),
        "command": heart.command(asked.edit, OUTLINES if source.given else None),
        "making": making(session),
    }


def preview(session: Session, change: Change) -> dict[str, Any]:
    """What moves while the mouse does: both outlines of the frame that is looked at, the curves and, where its pixels
    move, the picture.

    Raises what `Session.trial` does.
    """
    asked = session.trial(change)
    source, trajectory = asked.source, asked.trajectory
    frame = min(change.frame, len(trajectory.frames) - 1)
    answer = {
        "frame": frame,
        "curves": session.heart.curves(source, trajectory),
        "outlines": {
            "source": _pixels(source.heart.keypoints_source[trajectory.frames[frame]]),
            "result": _pixels(np.asarray(source.heart.model.to_source(trajectory.keypoints[frame]))),
        },
    }
    if source is session.asked.source:
        pixels = session.heart.preview(source, trajectory, frame)
        answer["picture"] = data_uri(sector_jpeg(pixels, np.asarray(source.heart.sector.mask)), "image/jpeg")
    return answer


def m_modes(session: Session) -> dict[str, str]:
    """Both M-modes as pictures of one scale of brightness. Raises ConfigError where the result isn't made yet."""
    lines = session.m_modes()
    white = max(float(np.quantile(line, 0.998)) for line in lines)
    source, result = (data_uri(m_mode_png(line, white)) for line in lines)
    return {"source": source, "result": result}


def making(session: Session) -> dict[str, Any]:
    """How far the result is."""
    now = session.making
    return {
        "key": now.key,
        "first": now.first if now.pixels is not None else None,
        "share": round(now.share, 3),
        "error": now.error,
        "measured": None if now.result is None else _measured(now.result),
    }


def _measured(result: Synthesis) -> dict[str, Any]:
    volumes, strains = result.measured_volumes, result.strains()
    ef = result.ejection_fractions()["measured"]
    return {
        "ef": None if ef is None else round(ef, 1),
        "volume": None if volumes is None else [round(float(v), 3) for v in volumes],
        "gls": {name: None if values is None else round(values["global"], 1) for name, values in strains.items()},
        "warning": result.warning,
    }


def _pixels(points: np.ndarray) -> list[Any]:
    return np.round(points, 2).tolist()
