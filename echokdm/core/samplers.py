"""Ways to run KDM's networks, each by its name, as what it changes of a `Drawing`."""

from collections.abc import Mapping
from typing import Any, Final

# The paper's: DDIM of T = 200, from k = 100; one sample of a flow, as it is drawn; latents pass the codebooks. What
# F2I-net is shown, which is more than the paper's, is of its weights.
SAMPLERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "own": {},
    "paper": {
        "steps": 100,
        "strength": 0.5,
        "flow_steps": 200,
        "samples": 1,
        "exact": False,
        "carry_detail": False,
        "quantize": True,
    },
}
