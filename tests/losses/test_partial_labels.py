"""What labels do not tell of is neither rewarded nor punished."""

import torch
import torch.nn.functional as F

from echokdm.losses.partial_labels import merge_untold

ALL = torch.ones(2, 4, dtype=torch.bool)


def test_all_told_changes_nothing() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(merge_untold(logits, ALL).softmax(1), logits.softmax(1), atol=1e-6)


def test_untold_classes_count_as_background_item_by_item() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    told = ALL.clone()
    told[1, 2:] = False
    before, merged = logits.softmax(1), merge_untold(logits, told).softmax(1)
    assert torch.allclose(merged[0], before[0], atol=1e-6)
    assert torch.allclose(merged[1, 0], before[1, [0, 2, 3]].sum(0), atol=1e-6) and merged[1, 2:].max() < 1e-6
    assert torch.allclose(merged.sum(1), torch.ones(2, 3, 3), atol=1e-5)


def test_no_gradient_tells_how_background_and_untold_divide() -> None:
    logits = torch.tensor([[0.3, 1.0, -0.4, 0.8]]).view(1, 4, 1, 1).requires_grad_()
    told = torch.tensor([[True, True, False, False]])
    F.cross_entropy(merge_untold(logits, told), torch.zeros(1, 1, 1, dtype=torch.long)).backward()
    gradient, share = logits.grad.flatten(), logits.detach().flatten()[[0, 2, 3]].softmax(0)
    assert gradient[1] > 0 and torch.allclose(gradient[[0, 2, 3]] / gradient[[0, 2, 3]].sum(), share, atol=1e-5)
