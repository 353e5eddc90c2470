"""A KDM of a few channels, untrained: what it makes is noise, and scores must hold for noise too."""

import pytest
import torch


def build_tiny_pipeline():
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    from echokdm.core.types import A4C_BLOODPOOL_40
    from echokdm.methods.kdm.conditions import f2i_channels, k2f_channels
    from echokdm.methods.kdm.pipeline import KDMPipeline
    from echokdm.networks.codec import FlowCodec, build_codec
    from echokdm.networks.conditioned_unet import ConditionedUNet
    from echokdm.networks.pwc_lite import PWCLite
    from echokdm.networks.segmenter import Segmenter

    torch.manual_seed(0)
    seen, rendered = k2f_channels(A4C_BLOODPOOL_40), f2i_channels(A4C_BLOODPOOL_40)
    unet = {"block_out_channels": (8, 16), "condition_channels": 8}
    return KDMPipeline(
        image_codec=build_codec(1, (8, 8), 3, 16),
        flow_codec=FlowCodec((8, 8, 8), 4, 16),
        k2f=ConditionedUNet(latent_channels=4, pixel_channels=seen, strides=(2, 2, 1), **unet),
        f2i=ConditionedUNet(
            latent_channels=3, pixel_channels=rendered, latent_condition_channels=6, strides=(2, 1, 1), **unet
        ),
        k2i=ConditionedUNet(
            latent_channels=3, pixel_channels=seen, latent_condition_channels=3, strides=(2, 1, 1), **unet
        ),
        segmenter=Segmenter(features=(4, 4, 8, 8, 8, 4)),
        scheduler=DDIMScheduler(prediction_type="v_prediction"),
        of_net=PWCLite(pyramid=(4, 4, 8, 8, 8, 8), estimator=(8, 8, 8, 8, 8), context=(8, 8, 8, 8, 8, 8)),
    )


@pytest.fixture(scope="session")
def tiny_pipeline():
    return build_tiny_pipeline()


@pytest.fixture(scope="session")
def tiny_bundle(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pairs():
    from echokdm.evaluation.held_out import FIRST_SEED, held_out_pairs

    return held_out_pairs([FIRST_SEED, FIRST_SEED + 1])
