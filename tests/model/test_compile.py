"""torch.compile of the encoder, as ``training.compile`` asks for it (torch 2).

Traced and differentiated by the compiler, run by torch: inductor's C++ takes minutes to make.
"""

import pytest
import torch

from gmot.model.ctc_model import CtcModel, ModelConfig

pytestmark = pytest.mark.integration


@pytest.mark.skipif(not hasattr(torch.nn.Module, "compile"), reason="torch 1 has no compiler")
def test_a_compiled_encoder_computes_the_same():
    """Values and gradients, for batches of several lengths; names of the weights stay."""
    torch.manual_seed(0)
    shape = ModelConfig(
        vocab_size=6, num_features=8, d_model=16, num_heads=2, ffn_dim=32, num_layers=2,
        kernel_size=3, subsampling_channels=4, dropout=0.0, teacher_dim=6,
    )  # fmt: skip
    model, compiled = CtcModel(shape), CtcModel(shape)
    compiled.load_state_dict(model.state_dict())
    compiled.encoder.compile(dynamic=True, backend="aot_eager")
    assert list(compiled.state_dict()) == list(model.state_dict())
    for frames in (64, 80, 53):
        features, lengths = torch.randn(3, frames, 8), torch.tensor([frames, frames - 9, 40])
        found = []
        for each in (model, compiled):
            each.zero_grad()
            output = each(features, lengths, layers=(1, 2))
            (output.log_probs.square().mean() + output.intermediate[0].mean()).backward()
            found.append([output.log_probs, *(p.grad for p in each.parameters())])
        for expected, value in zip(*found):
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)
