"""What every network here is: a module that diffusers saves and reads back with its configuration."""

from typing import TYPE_CHECKING, Any

from echokdm.core import torchvision_compat  # noqa: F401  (first: diffusers imports torchvision)

from diffusers.configuration_utils import ConfigMixin  # isort: skip
from diffusers.models.modeling_utils import ModelMixin  # isort: skip


class ConfiguredModel(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both have a config_name, and ModelMixin's counts
    """A network whose constructor's arguments are `config`, by diffusers' `register_to_config`."""

    if TYPE_CHECKING:
        @property
        def config(self) -> Any:
            """The arguments, as attributes and as keys; diffusers names the keys alone."""
