"""Commands write pages without plots, but for the tests that ask for them."""

import pytest


@pytest.fixture(autouse=True)
def pages_without_plots(no_plots: None) -> None:
    """See `no_plots`."""
