import dataclasses
import math

import pytest
import torch

from gmot.common import GmotError
from gmot.config import from_dict
from gmot.model.conformer import AbsoluteAttention, Conformer, RelativeAttention, Sinusoids, _shift
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.model.subsampling import (
    MIN_FRAMES,
    Conv2dSubsampling,
    frame_centres,
    length_mask,
    output_length,
)

SMALL = ModelConfig(
    vocab_size=11,
    num_features=80,
    d_model=32,
    num_heads=4,
    ffn_dim=64,
    num_layers=2,
    kernel_size=5,
    subsampling_channels=8,
    dropout=0.1,
)


def test_centres_of_the_output_frames_are_those_of_what_they_read():
    layer = Conv2dSubsampling(16, 8, 4)
    frames = torch.randn(1, 40, 16, requires_grad=True)
    output = layer(frames)
    centres = frame_centres(output.size(1), frame_shift=1.0)
    for i, row in enumerate(output[0]):
        (gradient,) = torch.autograd.grad(row.sum(), frames, retain_graph=True)
        read = gradient[0].abs().sum(1).nonzero()[:, 0]
        assert len(read) == MIN_FRAMES
        assert float(centres[i]) == float(read.double().mean()) + 0.5
    assert frame_centres(3).tolist() == pytest.approx([0.035, 0.075, 0.115])


def test_output_length_is_what_the_convolutions_make():
    layer = Conv2dSubsampling(80, 8, 4)
    for frames in range(MIN_FRAMES, 60):
        assert layer(torch.randn(1, frames, 80)).size(1) == output_length(frames)
    assert output_length(MIN_FRAMES - 1) == 0
    assert output_length(torch.tensor([3, 7, 200])).tolist() == [0, 1, 49]


def test_shift_takes_the_score_of_the_distance():
    frames = 6
    # Column p of the position scores belongs to the distance T - 1 - p = i - j.
    distances = torch.arange(frames - 1, -frames, -1.0)
    scores = distances.expand(2, 3, frames, -1).contiguous()
    i, j = torch.meshgrid(torch.arange(frames), torch.arange(frames), indexing="ij")
    expected = (i - j).float().expand(2, 3, -1, -1)
    assert torch.equal(_shift(scores), expected)
    assert torch.equal(_shift(scores.transpose(0, 1)), expected.transpose(0, 1))


def test_attention_equals_a_loop_over_queries_and_keys():
    torch.manual_seed(0)
    c, h, t = 16, 2, 5
    attention = RelativeAttention(c, h, dropout=0.0).eval()
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    x = torch.randn(1, t, c)
    positions = Sinusoids(c).relative(t)
    mask = torch.tensor([[True, True, True, True, False]])

    q, k, v = (part.view(t, h, c // h) for part in attention.in_proj(x)[0].chunk(3, dim=-1))
    p = attention.pos_proj(positions).view(2 * t - 1, h, c // h)
    out = torch.zeros(t, h, c // h)
    for head in range(h):
        for i in range(t):
            scores = torch.stack(
                [
                    (q[i, head] + attention.content_bias[head]) @ k[j, head]
                    + (q[i, head] + attention.position_bias[head]) @ p[t - 1 - (i - j), head]
                    for j in range(4)  # the fifth key is padding
                ]
            )
            out[i, head] = (scores / (c // h) ** 0.5).softmax(0) @ v[:4, head]
    expected = attention.out_proj(out.reshape(1, t, c))
    torch.testing.assert_close(attention(x, positions, mask), expected, atol=1e-5, rtol=1e-5)


def test_absolute_attention_equals_a_loop_over_queries_and_keys():
    torch.manual_seed(0)
    c, h, t = 16, 2, 5
    attention = AbsoluteAttention(c, h, dropout=0.0)
    torch.nn.init.normal_(attention.in_proj_bias)
    x, mask = torch.randn(1, t, c), torch.tensor([[True] * 4 + [False]])
    projected = x[0] @ attention.in_proj_weight.t() + attention.in_proj_bias
    q, k, v = (part.view(t, h, c // h) for part in projected.chunk(3, dim=-1))
    out = torch.zeros(t, h, c // h)
    for head in range(h):
        for i in range(t):
            scores = torch.stack([q[i, head] @ k[j, head] for j in range(4)])
            out[i, head] = (scores / (c // h) ** 0.5).softmax(0) @ v[:4, head]
    expected = attention.out_proj(out.reshape(1, t, c))
    torch.testing.assert_close(attention(x, None, mask), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # the other implementation that torch has for it
        found = attention.eval()(x, None, mask)[:, :4]
    torch.testing.assert_close(found, expected[:, :4], atol=1e-5, rtol=1e-5)


def test_absolute_positions_are_added_to_the_input():
    """CMA-OT Eq. 1, X + PE(X): sine at even and cosine at odd dimensions."""
    encoder = Conformer(
        ModelConfig(d_model=8, num_heads=2, ffn_dim=16, num_layers=1, positions="absolute")
    ).eval()
    x, mask = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    encoding = torch.empty(5, 8)
    for position in range(5):
        for pair in range(4):
            angle = position / 10000 ** (2 * pair / 8)
            encoding[position, 2 * pair] = math.sin(angle)
            encoding[position, 2 * pair + 1] = math.cos(angle)
    seen = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(x, mask)
    torch.testing.assert_close(seen[0], x + encoding, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["relative", "absolute"])
@pytest.mark.parametrize("gradients", [False, True])  # torch has two implementations of attention
@pytest.mark.parametrize("teacher_dim", [None, 24])
def test_batch_mates_and_padding_change_nothing(teacher_dim, gradients, positions):
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, teacher_dim=teacher_dim, positions=positions)
    model = CtcModel(config).eval().requires_grad_(gradients)
    lens = torch.tensor([90, 41, 7])
    features = torch.randn(3, 90, 80)
    features[1, 41:] = 1e3  # padding must not be looked at
    features[2, 7:] = -1e3
    batch = model(features, lens)
    for n, length in enumerate(lens.tolist()):
        alone = model(features[n : n + 1, :length], lens[n : n + 1])
        frames = int(alone.lengths)
        assert frames == int(batch.lengths[n])
        torch.testing.assert_close(
            batch.log_probs[n, :frames], alone.log_probs[0], atol=2e-5, rtol=1e-4
        )
        if teacher_dim:
            assert batch.acoustic.shape == (3, int(output_length(90)), teacher_dim)
            torch.testing.assert_close(
                batch.acoustic[n, :frames], alone.acoustic[0], atol=2e-5, rtol=1e-4
            )


def test_intermediate_layers_are_the_outputs_of_their_blocks():
    """Asking for them changes nothing else."""
    torch.manual_seed(0)
    model = CtcModel(dataclasses.replace(SMALL, teacher_dim=24, num_layers=3)).eval()
    outputs = {}
    for number, block in enumerate(model.encoder.blocks, start=1):
        block.register_forward_hook(lambda _, __, out, number=number: outputs.update({number: out}))
    features, lens = torch.randn(2, 50, 80), torch.tensor([50, 30])
    plain = model(features, lens)
    tapped = model(features, lens, layers=(3, 1))
    assert plain.intermediate == () and len(tapped.intermediate) == 2
    assert torch.equal(plain.log_probs, tapped.log_probs)
    assert torch.equal(tapped.intermediate[0], plain.acoustic)
    fc2 = model.adapter.fc2
    expected = outputs[1] @ fc2.weight.t() + fc2.bias
    torch.testing.assert_close(tapped.intermediate[1], expected, atol=1e-5, rtol=1e-5)


def test_layers_out_of_range():
    features, lens = torch.randn(1, 50, 80), torch.tensor([50])
    with pytest.raises(ValueError, match=r"\(1,\)"):
        CtcModel(SMALL)(features, lens, layers=(1,))
    model = CtcModel(dataclasses.replace(SMALL, teacher_dim=24))
    for layer in (0, 3):
        with pytest.raises(ValueError, match="1 to 2"):
            model(features, lens, layers=(layer,))


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_log_probs_are_normalised_and_every_parameter_learns(positions):
    model = CtcModel(dataclasses.replace(SMALL, teacher_dim=24, positions=positions))
    output = model(torch.randn(2, 50, 80), torch.tensor([50, 30]))
    torch.testing.assert_close(output.log_probs.exp().sum(-1), torch.ones(2, 11))
    output.log_probs[..., 1].sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without


def test_papers_size():
    """16 blocks, 256, 4 heads, 2048, kernel 15 and 4282 outputs: about 48 M parameters."""
    config = ModelConfig(vocab_size=4282)
    blocks = Conformer(config)
    per_block = sum(p.numel() for p in blocks.blocks[0].parameters())
    ffn = 2 * (2 * 256 * 2048 + 2048 + 256)
    attention = 5 * 256 * 256 + 4 * 256 + 2 * 256
    convolution = 3 * 256 * 256 + 3 * 256 + 256 * 15 + 256
    norms = 6 * 2 * 256
    assert per_block == ffn + attention + convolution + norms


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("num_heads", 5, "d_model.*5.*32"),
        ("kernel_size", 4, "kernel_size.*4"),
        ("dropout", 1.5, "dropout.*1.5"),
        ("positions", "none", "positions.*relative, absolute.*none"),
        ("num_layers", 0, "num_layers.*1.*0"),
        ("num_features", MIN_FRAMES - 1, f"num_features.*{MIN_FRAMES}.*{MIN_FRAMES - 1}"),
    ],
)
def test_impossible_shapes_are_refused(option, value, message):
    with pytest.raises(GmotError, match=message):
        dataclasses.replace(SMALL, **{option: value})


def test_configuration_of_another_version_is_refused():
    with pytest.raises(GmotError, match="wings"):
        from_dict(ModelConfig, {**dataclasses.asdict(SMALL), "wings": 2})


def test_length_mask():
    expected = [[True, False, False], [True, True, True]]
    assert length_mask(torch.tensor([1, 3]), 3).tolist() == expected
