"""Timing of one heart beat: how full the ventricle is and how far the valves are open at a phase in [0, 1), ED at 0."""

import torch
from torch import Tensor

from echokdm.phantom.anatomy import Anatomy, smoothstep


def _ease(x: Tensor) -> Tensor:
    """Quintic step: 0 below 0, 1 above 1, first and second derivative 0 at both."""
    x = x.clamp(0, 1)
    return x**3 * (10 - 15 * x + 6 * x * x)


class Beat:
    """Event times of B patients, and the base's lead and the right heart's lag, as fractions of the beat, each (B,).

    Systole from the electromechanical interval QS2 = 546 - 2.1 HR ms (Weissler 1968) less 40 ms before ED; isovolumic
    relaxation 70 ms; early filling 180 ms; the atrial kick fills the last 110 ms; all compressed where a fast heart
    leaves less room.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        def flat(name: str) -> Tensor:
            return anatomy[name][:, 0, 0]

        rate = flat("heart_rate") / 60  # beats a second; ms / 1000 * rate = fraction of the beat
        self.systole = ((0.506 - 0.0021 * 60 * rate) * rate * flat("systole_jitter")).clamp(0.28, 0.58)
        diastole = 1 - self.systole
        self.contraction = torch.minimum(0.04 * rate, 0.15 * self.systole)
        self.relaxed = self.systole + torch.minimum(0.07 * rate, 0.16 * diastole)
        self.filled = self.relaxed + torch.minimum(0.18 * rate, 0.42 * diastole)
        self.kick = 1 - torch.minimum(0.11 * rate, 0.3 * diastole)
        self.early, self.slow = flat("filling_early"), flat("filling_slow")
        self.middle, self.atrial = flat("opening_mid"), flat("opening_atrial")
        self.lead, self.lag = flat("long_lead") * rate, flat("right_lag") * rate

    def fullness(self, phase: Tensor) -> Tensor:
        """(V - ESV) / (EDV - ESV) at `phase` (B,): ejection fast at first, no change in IVR, E wave, diastasis, A
        wave."""
        x = ((phase - 0.5 * self.contraction) / (self.systole - 0.5 * self.contraction)).clamp(0, 1)
        ejected = _ease(x**0.85)
        early = _ease((phase - self.relaxed) / (self.filled - self.relaxed))
        slow = smoothstep((phase - self.relaxed) / (1 - self.relaxed))
        late = _ease((phase - self.kick) / (1 - self.kick))
        return 1 - ejected + self.early * early + self.slow * slow + (1 - self.early - self.slow) * late

    def axial_lead(self, phase: Tensor) -> Tensor:
        """By how much less the base is drawn to the apex at `phase` (B,) than the walls inwards, as a share of its way
        (B,)."""
        return self.fullness(phase + self.lead * self._between(phase)) - self.fullness(phase)

    def right_lag(self, phase: Tensor) -> Tensor:
        """By how much more the right heart is contracted at `phase` (B,) than the left, as a share (B,)."""
        return self.fullness(phase) - self.fullness(phase - self.lag * self._between(phase))

    @staticmethod
    def _between(phase: Tensor) -> Tensor:
        """0 at ED, where every part of the heart is at rest, 1 amid the beat."""
        return smoothstep(phase / 0.2) * smoothstep((1 - phase) / 0.2)

    def opening(self, phase: Tensor) -> Tensor:
        """0 (valve closed, the whole systole) .. 1 (E peak) at `phase` (B,); half closes in diastasis, opens again in
        A."""
        span = self.filled - self.relaxed
        opens = _ease((phase - self.relaxed + 0.1 * span) / (0.5 * span))
        settles = _ease((phase - self.relaxed - 0.5 * span) / (0.8 * span))
        late = 1 - self.kick
        again = _ease((phase - self.kick + 0.25 * late) / (0.6 * late))
        closes = _ease((phase - self.kick - 0.4 * late) / (0.58 * late))
        return (opens - (1 - self.middle) * settles + (self.atrial - self.middle) * again - self.atrial * closes).clamp(
            0, 1
        )
