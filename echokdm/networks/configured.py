"""What every network here is: a module that diffusers saves and reads back with its configuration."""

from typing import TYPE_CHECKING, Any

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin


class ConfiguredModel(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both have a config_name, and ModelMixin's counts
    """A network whose constructor's arguments are `config`, by diffusers' `register_to_config`."""

    if TYPE_CHECKING:

        @property
        def config(self) -> Any:
            """The arguments, as attributes and as keys; diffusers names the keys alone."""
