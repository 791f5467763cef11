import pytest

from gmot.training.optim import learning_rate


def test_warm_up_is_linear():
    assert learning_rate(5, 0.0, 0.01, 10, "noam") == pytest.approx(0.005)
    assert learning_rate(10, 0.0, 0.01, 10, "noam") == pytest.approx(0.01)
    assert learning_rate(5, 0.0, 0.01, 10, "cosine") == pytest.approx(0.005)


def test_noam_falls_with_the_square_root():
    assert learning_rate(80000, 0.9, 0.001, 20000, "noam") == pytest.approx(0.0005)


def test_cosine_ends_at_zero_and_stays():
    assert learning_rate(100, 0.5, 0.01, 10, "cosine") == pytest.approx(0.005)
    assert learning_rate(200, 1.0, 0.01, 10, "cosine") == pytest.approx(0.0)
    assert learning_rate(220, 1.1, 0.01, 10, "cosine") == pytest.approx(0.0)


def test_without_warm_up():
    assert learning_rate(1, 0.0, 0.01, 0, "cosine") == pytest.approx(0.01)
