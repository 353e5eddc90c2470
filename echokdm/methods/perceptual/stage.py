"""Training of the feature net without labels: spoiled pictures in their order, and places found again in a moved
picture."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.data.distortions import KINDS, STRENGTHS, blur, distort
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.feature_net import FeatureNet, unit_length, weighted_difference
from echokdm.methods.base import StageConfig

EDGE = 8  # px around what is compared, so that no shift and no blur brings the picture's edge in
FOUND_FROM = 2  # the first stage whose places are to be found again
# of a blur of 1 px sigma, about LPIPS-squeeze's on the same pictures, so that weights of losses carry over
BLUR_DISTANCE = 0.15
# mean change of each stage of SqueezeNet by the same blur; for the same reason
BLUR_FEATURES = (0.073, 0.65, 3.2, 7.3, 2.2)


class FeaturesConfig(StageConfig):
    """The feature net."""

    steps: int = 2000
    batch: int = 8
    lr: float = 5e-4
    crop: int = 64  # px a side of what is compared
    margin: float = 0.7  # of the log ratio of two annoyances, by which the distances' log ratio must be in order
    found_weight: float = 0.1  # of finding places again
    temperature: float = 0.1
    places: int = 256  # a batch, that are to be told apart
    # stages of the finished distance: F2I-net taught by all five is farther off by LPIPS
    compared: int = Field(default=3, ge=1, le=5)


def annoyance(kind: str, strength: float) -> float:
    """How much a distortion changes what a picture looks like, in (0, 1), set by hand: a shift hardly, another texture
    somewhat.

    Only the order of clearly different values is learned from it (`margin`); how one picture differs from another is
    not told.
    """
    return {
        "blur": strength**2 / (strength**2 + 4),
        "noise": strength / (strength + 0.1),
        "shift": 0.015 * strength,
        "texture": 0.3 * strength**1.5,
    }[kind]


class FeaturesStage(Stage):
    """Rank two strengths of one distortion and two distortions more; tell places apart in a moved picture (InfoNCE, van
    den Oord 2018).

    dataset: `Pictures` of crop + 2 EDGE px.
    """

    name = "features"

    def __init__(self, config: FeaturesConfig, dataset: Dataset, network: FeatureNet | None = None) -> None:
        self.config, self.dataset, self.batch_size = config, dataset, config.batch
        self.network = network if network is not None else FeatureNet()
        if network is None:
            for module in self.network.modules():
                if isinstance(module, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(module.weight)
                    assert module.bias is not None
                    torch.nn.init.zeros_(module.bias)
        self.modules, self.frozen = {self.name: self.network}, {}
        self.optimizers = {"adamw": torch.optim.AdamW(self.network.parameters(), config.lr, weight_decay=1e-4)}

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One AdamW step; logs both losses."""
        config, optimizer, net = self.config, self.optimizers["adamw"], self.modules[self.name]
        cosine_with_warmup(optimizer, config.lr, run)
        pictures, inner = batch["picture"].cpu(), slice(EDGE, EDGE + config.crop)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        spoiled, levels = self._spoiled(pictures, generator)
        versions = torch.cat([pictures, *spoiled])[:, :, inner, inner].to(run.device)
        with run.autocast():
            maps = [m.float() for m in net(versions)]
        units = [unit_length(m).unflatten(0, (1 + len(spoiled), len(pictures))) for m in maps]
        distances = sum(
            (
                weighted_difference(u[1:], u[:1], w).mean((-3, -2, -1))
                for u, w in zip(units, self.network.weights, strict=True)
            ),
            torch.zeros(()),
        )
        ranked = self._in_order((distances + 1e-6).log(), torch.tensor(levels, device=run.device).log())
        found = self._found_again([u[0] for u in units], pictures, generator, run)
        loss = ranked + config.found_weight * found
        optimizer.zero_grad()
        run.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()
        return {"order": ranked.detach(), "found": found.detach()}

    def _spoiled(self, pictures: Tensor, generator: torch.Generator) -> tuple[list[Tensor], list[float]]:
        """Four spoiled versions, the first two of one kind, and their annoyance."""

        def uniform() -> float:
            return float(torch.rand((), generator=generator))

        kinds = [KINDS[int(uniform() * len(KINDS))] for _ in range(3)]
        spoiled, levels = [], []
        for kind in (kinds[0], *kinds):
            weakest, strongest = STRENGTHS[kind]
            strength = weakest * (strongest / weakest) ** uniform()
            spoiled.append(distort(pictures, kind, strength, generator))
            levels.append(annoyance(kind, strength))
        return spoiled, levels

    def _in_order(self, distances: Tensor, levels: Tensor) -> Tensor:
        """Hinge on every ordered pair of log annoyances (V,) over the log distances (V, B)."""
        wanted, got = levels[:, None] - levels[None], distances[:, None] - distances[None]
        counts = (wanted > 0.15)[..., None].expand_as(got)  # what is all but equal has no order
        return (F.relu(self.config.margin * wanted[..., None] - got) * counts).sum() / counts.sum().clamp_min(1)

    def _found_again(self, units: list[Tensor], pictures: Tensor, generator: torch.Generator, run: Run) -> Tensor:
        """Cross-entropy of telling which place of the pictures is which in the same, moved by up to 3 px and of another
        gain."""
        config = self.config
        down, right = (EDGE + int(v) for v in torch.randint(-3, 4, (2,), generator=generator))
        gain = torch.exp(0.2 * torch.randn(len(pictures), 1, 1, 1, generator=generator))
        moved = (pictures[:, :, down : down + config.crop, right : right + config.crop] * gain).clamp(0, 1)
        with run.autocast():
            others = [unit_length(m.float()) for m in self.modules[self.name](moved.to(run.device))]
        total = pictures.new_zeros((), device=run.device)
        for first, second in list(zip(units, others, strict=True))[FOUND_FROM:]:
            a, b = (v.permute(0, 2, 3, 1).flatten(0, 2) for v in (first, second))
            places = torch.randperm(len(a), generator=generator)[: config.places].to(run.device)
            total = total + F.cross_entropy(
                a[places] @ b[places].T / config.temperature, torch.arange(len(places), device=run.device)
            )
        return total

    @torch.no_grad()
    def finish(self) -> None:
        """Bring distance and features to LPIPS-squeeze's and SqueezeNet's size, on 64 drawn pictures."""
        pictures = torch.stack([self.dataset[(0, i)]["picture"] for i in range(64)])
        net = self.network.cpu().eval()
        net.register_to_config(compared=self.config.compared)
        blurred = blur(pictures, 1.0)
        share = BLUR_DISTANCE / sum(float(d.mean()) for d in net.differences(pictures, blurred))
        for weight in net.weights[: self.config.compared]:
            weight.abs_().mul_(share)
        changes = [float((a - b).abs().mean()) for a, b in zip(net(pictures), net(blurred), strict=True)]
        net.register_to_config(
            scales=tuple(float(f"{want / change:.4g}") for want, change in zip(BLUR_FEATURES, changes, strict=True))
        )
