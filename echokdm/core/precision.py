"""Half precision where the machine computes in it."""

from contextlib import AbstractContextManager

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies in bfloat16 itself; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def fast_arithmetic(device: torch.device) -> AbstractContextManager[object]:
    """A context in which networks run in bfloat16 if `device` has it. Results differ between machines in the third
    digit."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
