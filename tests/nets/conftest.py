import pytest

from sk_unlearn.utils._threads import reproducible_threads


@pytest.fixture(autouse=True)
def _one_thread():
    with reproducible_threads():
        yield
