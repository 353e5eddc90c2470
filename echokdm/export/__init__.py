"""Bundles for other programs: the segmenter as a MONAI bundle, the networks as ONNX, all of it as a folder for a model
hub."""

from echokdm.export.hub import write_hub_folder
from echokdm.export.monai_bundle import write_monai_bundle
from echokdm.export.onnx_networks import write_onnx

__all__ = ["write_hub_folder", "write_monai_bundle", "write_onnx"]
