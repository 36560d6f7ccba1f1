"""What a user reads who lacks a package."""

import sys

import numpy as np
import pytest

import sk_unlearn.inspection
from sk_unlearn.model_selection._comparison import ForgettingComparison
from sk_unlearn.receipts import ForgetLedger
from sk_unlearn.utils._optional import import_optional
from sk_unlearn.utils.estimator_checks import parametrize_with_forget_checks


def display():
    is_forget = np.arange(4) < 2
    return sk_unlearn.inspection.MembershipDisplay.from_scores(np.arange(4.0), is_forget)


NEEDS = [
    ("matplotlib", "plot", display),
    ("pandas", "plot", lambda: ForgetLedger().to_frame()),
    ("pandas", "plot", lambda: ForgettingComparison(records=[]).results),
    ("pandas", "plot", lambda: ForgettingComparison(records=[]).summary),
    ("pytest", "test", lambda: parametrize_with_forget_checks([])),
]


@pytest.mark.parametrize(("package", "extra", "call"), NEEDS)
def test_the_error_says_what_to_install(package, extra, call, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError, match=rf'needs {package}: pip install "sk-unlearn\[{extra}\]"'
    ):
        call()


def test_what_is_there_is_returned():
    assert import_optional("os.path", extra="plot", needed_for="A test").join is not None


def test_a_package_that_lacks_another_says_so(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"needs half_there.*No module named 'not_there_at_all'"
    with pytest.raises(ImportError, match=message):
        import_optional("half_there", extra="plot", needed_for="A test")
