"""Fixtures of the transport tests."""

import contextlib

import pytest


@pytest.fixture
def refusal():
    """Context that expects a ValueError whose message contains all given facts."""

    @contextlib.contextmanager
    def expect(*facts):
        with pytest.raises(ValueError) as error:
            yield
        assert all(fact in str(error.value) for fact in facts), str(error.value)

    return expect
