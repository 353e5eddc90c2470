"""From a clip and a wish to frames, on a drawn heart: what was asked is what is drawn and measured again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from echokdm.core.errors import ClipError, ConfigError, GeometryError
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints, simpson
from echokdm.echo.plan import Wish, frame_times, plan, with_events
from echokdm.echo.synthesis import synthesize, weights_hash
from echokdm.echo.wish import Sampling
from echokdm.io.tracings import write_tracings
from echokdm.methods.kdm.drawing import Drawing
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.report.synthesis import measures


def test_without_a_wish_the_clip_comes_back(drawn_clip: Clip, pipeline, heart) -> None:
    result = synthesize(drawn_clip, bundle=pipeline)
    assert result.clip.frames.shape == drawn_clip.frames.shape and result.clip.fps == heart.fps and pipeline.calls == []
    assert result.clip.spacing_mm == drawn_clip.spacing_mm
    assert (result.clip.frames - result.real_frames()).abs().max() < 1e-3
    assert (result.clip.frames - drawn_clip.frames)[..., torch.as_tensor(result.mask)].abs().max() < 1e-3


def test_each_frame_is_made_from_its_own(drawn_clip: Clip, pipeline) -> None:
    """Speckle, which flickers from frame to frame, is that of the source's frame where nothing is to move."""
    result = synthesize(drawn_clip, Wish(ef=25.0), bundle=pipeline)
    assert result.from_frame is None and np.array_equal(result.trajectory.frames, np.arange(len(drawn_clip)))
    ed, es = result.source.ed, result.source.es
    still = torch.as_tensor(result.edited.flow[es].norm(dim=0) < 1e-3) & torch.as_tensor(
        result.source.model.sector_mask
    )
    made, own = result.edited.model.clip.frames[es], result.source.model.clip.frames
    assert still.sum() > 200 and (made - own[es])[0, still].abs().max() < 0.02 < (made - own[ed])[0, still].abs().max()


def test_one_frame_is_moved_by_the_clips_own_motion(drawn_clip: Clip, pipeline, heart) -> None:
    ed = derive_keypoints(drawn_clip, bundle=pipeline).ed
    result = synthesize(drawn_clip, sampling=Sampling(from_frame=ed), bundle=pipeline)
    assert result.clip.frames.shape == drawn_clip.frames.shape and result.clip.fps == heart.fps
    assert np.array_equal(result.trajectory.keypoints, result.source.keypoints)
    real, es = result.real_frames(), result.source.es
    swept = (real[ed] - real[es]).abs() > 0.25  # where the wall has been
    error = (result.clip.frames[es] - real[es])[swept].square().mean()
    still = (real[ed] - real[es])[swept].square().mean()
    assert swept.sum() > 50 and error < 0.6 * still


def test_a_square_on_request(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(ef=25.0, size=112), bundle=pipeline)
    assert result.clip.frames.shape[2:] == result.real_frames().shape[2:] == result.mask.shape == (112, 112)
    assert result.keypoints == pytest.approx(result.trajectory.keypoints, abs=1e-6)
    assert result.clip.spacing_mm == pytest.approx(result.source.model.clip.spacing_mm)
    assert torch.equal(result.clip.frames, result.edited.model.clip.frames)


@pytest.mark.parametrize("ef", [25.0, 50.0])
def test_ejection_fraction_is_what_was_asked_for(ef: float, drawn_clip: Clip, pipeline) -> None:
    fractions = synthesize(drawn_clip, Wish(ef=ef), bundle=pipeline).ejection_fractions()
    assert fractions["asked"] == pytest.approx(ef, abs=1e-6)
    assert fractions["drawn"] == pytest.approx(ef, abs=1.0)
    assert fractions["measured"] == pytest.approx(ef, abs=8.0)
    assert fractions["source"] == pytest.approx(38.6, abs=5)


def test_end_diastole_stays_where_ef_changes(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(ef=20.0), bundle=pipeline)
    ed = result.source.ed
    assert np.abs(result.trajectory.keypoints[ed] - result.source.keypoints[ed]).max() < 0.3


def test_driving_clip_gives_its_motion(drawn_clip: Clip, pipeline, heart, tmp_path: Path) -> None:
    moved = Clip(torch.roll(drawn_clip.frames, 10, 0), 50.0)
    result = synthesize(drawn_clip, driving=moved, bundle=pipeline)
    assert result.clip.fps == 50.0
    late = np.roll(result.trajectory.frames, -10) - np.arange(heart.frames)  # of the same phase, round and round
    assert np.abs((late + heart.frames // 2) % heart.frames - heart.frames // 2).max() <= 3
    assert abs(result.trajectory.es - (heart.frames // 2 + 10) % heart.frames) <= 1
    assert result.ejection_fractions()["drawn"] == pytest.approx(result.source.ejection_fraction, abs=4)


@pytest.mark.parametrize("wish", [{"edv": "80%"}, {"gls": -8.0}, {"walls": {"mid-septal": 0.0}}])
def test_other_wishes_are_drawn(wish: dict, drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(**wish), bundle=pipeline)
    ed, es = result.source.ed, result.source.es
    if "edv" in wish:
        assert result.drawn_volumes[ed] == pytest.approx(0.8 * result.source.volumes[ed], rel=1e-6)
        assert result.ejection_fractions()["drawn"] == pytest.approx(result.source.ejection_fraction, abs=0.5)
    elif "gls" in wish:
        assert result.strains()["drawn"]["global"] == pytest.approx(-8.0, abs=1e-3)
    else:
        moved = result.trajectory.keypoints[es] - result.source.keypoints[es]
        # the septum, on the left, stays out; the other wall comes in
        assert moved[9, 0] < -1 and np.abs(moved[30]).max() < 1e-6


def test_beats_are_looped_at_another_rate(drawn_clip: Clip, pipeline, heart) -> None:
    result = synthesize(drawn_clip, Wish(beats=2, heart_rate=90), bundle=pipeline)
    seconds = len(result.clip) / result.clip.fps
    assert seconds == pytest.approx(2 * 60 / 90, abs=0.05) and len(result.trajectory.beats) == 2
    assert result.trajectory.frames.max() < heart.frames
    step = np.abs(np.diff(np.concatenate([result.trajectory.keypoints, result.trajectory.keypoints[:1]]), axis=0)).mean(
        (1, 2)
    )
    assert step[-1] <= 1.5 * step[:-1].max()  # from the last frame to the first as from any other


def test_drag_moves_the_point_in_the_clips_own_pixels(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(drag={10: (-6.0, 0.0)}), bundle=pipeline)
    source = result.source
    moved = np.asarray(source.model.to_source(result.trajectory.keypoints[3])) - source.keypoints_source[3]
    assert moved[10] == pytest.approx([-6.0, 0.0], abs=0.3)
    assert np.abs(moved[30]).max() < 1.0  # the opposite wall stays


def test_still_clip_with_a_drag_grows_it(still_clip: Clip, pipeline, heart, tmp_path: Path) -> None:
    result = synthesize(still_clip, Wish(drag={10: (-6.0, 0.0)}, frames=5), bundle=pipeline)
    x = result.trajectory.keypoints[:, 10, 0]
    assert len(result.clip) == 5 and np.allclose(np.diff(x), x[1] - x[0], atol=1e-6) and x[4] < x[0] - 2
    assert result.ejection_fractions()["source"] is None


def test_one_traced_frame_moves_by_a_driving_clip(drawn_clip: Clip, pipeline, heart, tmp_path: Path) -> None:
    write_tracings(tmp_path / "t.csv", {"clip": {4: heart.ellipse(4)}})
    source = derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv", bundle=pipeline)
    result = synthesize(source, driving=drawn_clip, bundle=pipeline)
    assert result.from_frame == 4 and len(result.clip) == heart.frames
    with pytest.raises(ClipError, match="--driving"):
        synthesize(source, bundle=pipeline)


def test_frames_and_rate() -> None:
    at, fps = frame_times(31, 30.0, None, None)
    assert len(at) == 31 and fps == 30
    at, fps = frame_times(31, 30.0, 61, None)  # twice as many in the same second
    assert at[1] == 0.5 and fps == 60
    at, fps = frame_times(31, 30.0, None, 10.0)
    assert at.tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30] and fps == 10
    at, fps = frame_times(31, 30.0, 61, 30.0)  # slow motion
    assert len(at) == 61 and at[-1] == 30 and fps == 30


def test_more_frames_on_request(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(frames=12), bundle=pipeline)
    assert len(result.clip) == len(result.real_frames()) == len(result.drawn_volumes) == 12
    assert abs(result.trajectory.es - 6) <= 1


@pytest.mark.parametrize("time", [{"frames": n} for n in (2, 3, 5, 12, 31)] + [{"fps": f} for f in (4.0, 7.0, 60.0)])
def test_frames_and_rate_never_change_the_wish(time: dict, drawn_clip: Clip, pipeline) -> None:
    source = derive_keypoints(drawn_clip, bundle=pipeline)
    trajectory = plan(source, source.ed, Wish(ef=30, **time))
    volumes = simpson(trajectory.keypoints, source.model.clip.spacing_mm)
    assert clip_ejection_fraction(volumes, trajectory.beats) == pytest.approx(30, abs=1e-6)
    assert clip_ejection_fraction(trajectory.asked, trajectory.beats) == pytest.approx(30, abs=1e-6)
    assert (trajectory.frames[[trajectory.ed, trajectory.es]] == [source.ed, source.es]).all()


def test_end_diastole_and_end_systole_are_among_the_frames() -> None:
    at, beats = with_events(np.linspace(0, 45, 6), [(4, 22), (26, 40)])
    assert (np.diff(at) > 0).all() and [(at[ed], at[es]) for ed, es in beats] == [(4, 22), (26, 40)]
    at, beats = with_events(np.array([0.0, 45.0]), [(30, 12)])
    assert at.tolist() == [12, 30] and beats == [(1, 0)]


def test_beats_for_which_there_are_too_few_frames_are_told(drawn_clip: Clip, pipeline) -> None:
    twice = drawn_clip.with_frames(torch.cat([drawn_clip.frames] * 2 + [drawn_clip.frames[:4]]))
    source = derive_keypoints(twice, bundle=pipeline)
    assert len(source.beats) == 2
    trajectory = plan(source, source.ed, Wish(ef=30, frames=3))
    assert len(trajectory.beats) == 1 and trajectory.left_out == 1
    assert clip_ejection_fraction(trajectory.asked, trajectory.beats) == pytest.approx(30, abs=1e-6)


def test_the_sources_ejection_fraction_is_the_one_that_keypoints_gives(drawn_clip: Clip, pipeline) -> None:
    """Two beats, one of which ejects more: their mean, wherever it is printed."""
    weak = drawn_clip.frames[[t if t <= 6 else 24 - t if t >= 18 else 6 for t in range(24)]]
    clip = drawn_clip.with_frames(torch.cat([drawn_clip.frames, weak, drawn_clip.frames[:4]]))
    derived, result = derive_keypoints(clip, bundle=pipeline), synthesize(clip, bundle=pipeline)
    assert len(derived.beats) == 2
    each = [clip_ejection_fraction(derived.volumes, [turn]) for turn in derived.turns]
    assert each[0] > each[1] + 5 and derived.ejection_fraction == pytest.approx(np.mean(each))
    assert measures(derived)["ef_percent"] == pytest.approx(derived.ejection_fraction, abs=0.005)
    assert result.ejection_fractions()["source"] == derived.ejection_fraction
    assert result.ejection_fractions()["asked"] == pytest.approx(derived.ejection_fraction, abs=0.3)  # at whole frames


def test_a_missed_wish_is_said(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(ef=30), bundle=pipeline)
    assert result.warning == ""
    missed = replace(result, measured=result.source.keypoints[[result.source.ed] * len(result.clip)])
    assert "misses the 30.0 % asked for" in missed.warning


def test_options_reach_the_model(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, sampling=Sampling(from_frame=2, steps=3, seed=7, without="f2i"), bundle=pipeline)
    assert pipeline.calls == [Drawing(steps=3, seed=7, without="f2i")]
    assert result.options["seed"] == 7 and result.options["without"] == "f2i"


def test_the_papers_sampler_is_one_word(drawn_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, sampling=Sampling(from_frame=2, sampler="paper"), bundle=pipeline)
    assert pipeline.calls == [
        Drawing(steps=100, strength=0.5, flow_steps=200, samples=1, exact=False, carry_detail=False, quantize=True)
    ]
    assert result.options["sampler"] == "paper"


def test_the_model_is_told_how_far_the_valves_are_open(drawn_clip: Clip, still_clip: Clip, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(ef=40), Sampling(from_frame=0), bundle=pipeline)
    told, inflow = torch.cat(pipeline.valve_openings).numpy(), np.gradient(result.drawn_volumes)
    assert told[result.trajectory.ed] == told[result.trajectory.es] == 0
    assert (told[inflow > 0.7 * inflow.max()] == 1).all() and (told[inflow < 0.5 * inflow.min()] == 0).all()
    synthesize(still_clip, Wish(drag={10: (3.0, 0.0)}), bundle=pipeline)
    assert (pipeline.valve_openings[-1] == 0.5).all()  # nothing beats


def test_lost_ventricle_in_the_output_is_said_not_hidden(drawn_clip: Clip, pipeline) -> None:
    find = pipeline.segment

    def lose(frames, *seen):
        pipeline.segment = lambda *_: (torch.zeros(len(frames), 112, 112, dtype=torch.bool), None)
        return find(frames, *seen)

    pipeline.segment = lose
    result = synthesize(drawn_clip, bundle=pipeline)
    assert result.measured is None and result.ejection_fractions()["measured"] is None
    assert "nothing could be measured" in result.warning


def test_weights_hash_follows_the_weights(pipeline) -> None:
    before = weights_hash(pipeline)
    assert before == weights_hash(pipeline) and len(before) == 64
    with torch.no_grad():
        pipeline.components["segmenter"].bias[0] += 1e-3
    assert weights_hash(pipeline) != before


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({"ef": 4.9}, GeometryError, "outside 5 to 80"),
        ({"ef": float("nan")}, GeometryError, "outside 5 to 80"),
        ({"frames": 1}, ConfigError, "--frames"),
        ({"fps": 0.0}, ConfigError, "--fps"),
        ({"size": 63}, ConfigError, "--size"),
        ({"gls": 3.0}, ConfigError, "--gls"),
        ({"heart_rate": 250.0}, ConfigError, "--heart-rate"),
        ({"beats": 2, "frames": 20}, ConfigError, "--frames"),
        ({"edv": "20%"}, GeometryError, "60 to 150"),
        ({"walls": {"mid-septal": 3.0}}, GeometryError, "mid-septal"),
        ({"drag": {40: (1.0, 0.0)}}, ConfigError, "points 0 to 39"),
        ({"drag": {3: (float("inf"), 0.0)}}, ConfigError, "finite"),
    ],
)
def test_impossible_wishes_are_refused(wish: dict, error: type, words: str, drawn_clip: Clip, pipeline) -> None:
    with pytest.raises(error, match=words):
        synthesize(drawn_clip, Wish(**wish), bundle=pipeline)


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"steps": 0}, "--steps"),
        ({"seed": -1}, "--seed"),
        ({"from_frame": 24}, "frames 0 to 23"),
        ({"without": "f2i"}, "--from-frame"),
        ({"without": "of"}, "f2i or k2f"),
        ({"sampler": "papers"}, "own or paper"),
        ({"sampler": "paper"}, "one-frame mode"),
        ({"sampler": "paper", "from_frame": 0, "steps": 4}, "leave --steps out"),
    ],
)
def test_impossible_samplings_are_refused(sampling: dict, words: str, drawn_clip: Clip, pipeline) -> None:
    with pytest.raises(ConfigError, match=words):
        synthesize(drawn_clip, sampling=Sampling(**sampling), bundle=pipeline)


def test_still_clip_has_no_motion(still_clip: Clip, pipeline) -> None:
    for wish in ({}, {"ef": 40.0}):
        with pytest.raises(ClipError, match="--driving"):
            synthesize(still_clip, Wish(**wish), bundle=pipeline)
