"""The bundle of a feature net."""

from typing import ClassVar

from echokdm.losses.feature_net import FeatureNet
from echokdm.methods.pipeline import MethodPipeline


class PerceptualPipeline(MethodPipeline):
    """features: the trained net."""

    COMPONENTS: ClassVar[dict[str, type]] = {"features": FeatureNet}

    def __init__(self, features: FeatureNet) -> None:
        super().__init__()
        self.register_modules(features=features)
