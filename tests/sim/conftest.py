from __future__ import annotations

import pytest

from tests.pki_fixture import Network as Ca


@pytest.fixture(scope="module")
def ca() -> Ca:
    """One CA per test file."""
    return Ca()
