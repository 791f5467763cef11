"""Precision of the transport whatever is allowed outside, and the state that it leaves."""

import pytest
import torch

from gmot.ot.precision import no_autocast

MATMUL = torch.backends.cuda.matmul


def state():
    """What torch's older and newer (2.9) interfaces say of TF32; "mixed" where one refuses."""
    found = []
    for read in (torch.get_float32_matmul_precision, lambda: MATMUL.fp32_precision):
        try:
            found.append(read())
        except (AttributeError, AssertionError):
            found.append("none yet")
        except RuntimeError:
            found.append("mixed")
    return found


def newer():
    MATMUL.fp32_precision = "tf32"


OUTSIDE = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "allow_tf32": lambda: setattr(MATMUL, "allow_tf32", True),
    "fp32_precision": newer,
}


@pytest.fixture
def restored():
    before = state()
    yield
    torch.set_float32_matmul_precision("highest")
    if before[1] != "none yet":
        MATMUL.fp32_precision = before[1]


@pytest.mark.parametrize("outside", OUTSIDE)
def test_no_tf32_within_and_the_old_state_after(outside, restored):
    if outside == "fp32_precision" and state()[1] == "none yet":
        pytest.skip("before torch 2.9")
    OUTSIDE[outside]()
    before = state()
    with pytest.raises(KeyError), no_autocast(torch.device("cuda")):
        assert state()[0] == "highest" and state()[1] in ("ieee", "none yet")
        with no_autocast(torch.device("cpu")):
            assert not MATMUL.allow_tf32
        assert not torch.is_autocast_enabled()
        raise KeyError
    assert state() == before
    assert before[0] == {"nothing": "highest", "medium": "medium", "fp32_precision": "mixed"}.get(
        outside, "high"
    )


def test_gradients_are_not_rounded_either(restored):
    """A backward pass under autocast, whose products would be in bfloat16."""
    from gmot.ot import CosineEdges, fused_gromov_wasserstein

    torch.manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(2, n, 6), dim=2) for n in (9, 4))
    gradients = []
    for enabled in (False, True):
        leaf = x.clone().requires_grad_()
        edges = CosineEdges(leaf), CosineEdges(y)
        result = fused_gromov_wasserstein(
            torch.rand(2, 9, 4, generator=torch.manual_seed(1)), *edges
        )
        loss = result.edge.sum()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss.backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
