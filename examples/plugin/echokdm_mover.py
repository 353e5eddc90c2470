"""A method for echokdm, as small as one can be: a network that redraws a picture with its marker somewhere else."""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from echokdm.core.errors import ConfigError
from echokdm.engine.stage import Stage, cosine_with_warmup
from echokdm.methods.base import Generated, Method, MethodConfig, StageConfig
from echokdm.methods.pipeline import MethodPipeline
from echokdm.methods.train import load_component
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.tables import Table
from echokdm.ops.warp import pixel_grid


def drawn(points, size):
    """Markers (B, 1, 2) px as one blurred dot each, (B, 1, S, S)."""
    away = pixel_grid(size, size, points.device) - points[:, 0, :, None, None].nan_to_num(-1e4)
    return torch.exp(-away.square().sum(1, keepdim=True) / 8)


class MoverNet(ModelMixin, ConfigMixin):
    """Source and both markers -> the picture with the marker moved. A component that diffusers can save and load."""

    @register_to_config
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(5, width, 5, padding=2), nn.ReLU(), nn.Conv2d(width, 3, 5, padding=2))

    def forward(self, source, before, after):
        """source (B, 3, S, S) in [0, 1], markers (B, 1, 2) px -> (B, 3, S, S)."""
        size = source.shape[-1]
        return source + self.body(torch.cat([source, drawn(before, size), drawn(after, size)], 1))


class MoverStage(Stage):
    """Two frames of one clip: the first is made of the second."""

    name = "mover"

    def __init__(self, config, dataset, network):
        self.dataset, self.batch_size, self.lr = dataset, config.batch, config.lr
        self.modules, self.frozen = {"mover": network}, {}
        self.optimizers = {"adam": torch.optim.Adam(network.parameters(), config.lr)}

    def step(self, batch, run):
        """One step of Adam on the L1 distance."""
        cosine_with_warmup(self.optimizers["adam"], self.lr, run)
        (target, source), (after, before) = batch["frames"].unbind(1), batch["keypoints"].unbind(1)
        loss = F.l1_loss(self.modules["mover"](source, before, after), target)
        self.optimizers["adam"].zero_grad()
        run.backward(loss)
        self.optimizers["adam"].step()
        return {"l1": loss.detach()}


class MoverPipeline(MethodPipeline):
    """What a trained bundle holds."""

    COMPONENTS = {"mover": MoverNet}

    def __init__(self, mover: MoverNet) -> None:
        super().__init__()
        self.register_modules(mover=mover)

    @torch.no_grad()
    def __call__(self, source, before, after):
        """One source (1, 3, S, S) with its marker (1, 2) moved to each of (T, 1, 2) -> (T, 3, S, S)."""
        return torch.cat([self.mover(source, before[None], target[None]) for target in after]).clamp(0, 1)


class MoverConfig(MethodConfig):
    """The YAML's keys: what every method has, and one block a stage."""

    mover: StageConfig = StageConfig()


class Mover(Method):
    """What `echokdm train`, `generate`, `evaluate` and `methods` need."""

    name, title, paper = "mover", "Move a marker", "the example in echokdm's own repository"
    takes, config, pipeline = frozenset({"keypoints"}), MoverConfig, MoverPipeline

    def stages(self, config):
        """One."""
        return ("mover",)

    def build_stage(self, name, config, data, bundle, start):
        """`start`: go on from the weights that lie in the bundle."""
        network = load_component(bundle, "mover", MoverNet) if start else MoverNet()
        return MoverStage(config.mover, data.train(2, config.seed), network)

    def assemble(self, config, parts):
        """The pipeline of what was trained."""
        return MoverPipeline(**parts)

    def schema(self, pipeline):
        """One marker."""
        from echokdm_marker import SCHEMA

        return SCHEMA

    def generate(self, pipeline, request):
        """One frame for each place asked for."""
        if request.source_keypoints is None or request.target_keypoints is None:
            raise ConfigError("The method mover needs --source-keypoints and --keypoints.")
        return Generated(pipeline(request.sources[:1], request.source_keypoints[0], request.target_keypoints))

    def evaluate(self, pipeline, data):
        """Mean absolute error on the held-out clips."""
        pairs = data.held_out(2, 0)
        errors = []
        for i in range(len(pairs)):
            (target, source), (after, before) = pairs[(0, i)]["frames"], pairs[(0, i)]["keypoints"]
            errors.append(float((pipeline(source[None], before, after[None]) - target).abs().mean()))
        return [Table("Held-out clips", ("L1",), (("mover", (mean_interval(errors),)),))]


MOVER = Mover()
