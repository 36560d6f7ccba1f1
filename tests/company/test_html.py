"""The HTML diagram links each estimator to its page in the API reference."""

import inspect
import re
from importlib import metadata
from pathlib import Path

import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import sk_unlearn
from sk_unlearn import RetrainClassifier, SisaClassifier
from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.utils import _doc_link

SITE = "https://docs.example/sk_unlearn"
OURS = [
    kind
    for _, kind in inspect.getmembers(sk_unlearn, inspect.isclass)
    if issubclass(kind, BaseForgetEstimator)
]


@pytest.fixture(autouse=True)
def _not_published(monkeypatch):
    monkeypatch.setattr(_doc_link, "_published", lambda: "")
    monkeypatch.delenv("SK_UNLEARN_DOCS", raising=False)


def generated_pages():
    """Pages that the reference builds: one for each entry under a ``toctree``."""
    reference = Path(__file__).parents[2] / "docs" / "api.rst"
    package, folder, pages = "", None, set()
    for line in reference.read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule::"):
            package = line.split("::")[1].strip()
        elif line.startswith(".. "):
            folder = None
        elif ":toctree:" in line:
            folder = line.split(":toctree:")[1].strip()
        elif folder and re.fullmatch(r"   [\w.]+", line):
            pages.add(f"{folder.rstrip('/')}/{package}.{line.strip()}.html")
    return pages


def test_all_estimators_are_looked_at():
    assert len(OURS) >= 7


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_the_link_is_a_page_of_the_reference(kind, monkeypatch):
    monkeypatch.setenv("SK_UNLEARN_DOCS", SITE + "/")
    link = kind()._get_doc_link()
    assert link == f"{SITE}/generated/sk_unlearn.{kind.__name__}.html"
    assert link.removeprefix(f"{SITE}/") in generated_pages()
    assert link in kind()._repr_html_()


def test_the_diagram_shows_what_is_inside(monkeypatch):
    monkeypatch.setenv("SK_UNLEARN_DOCS", SITE)
    html = make_pipeline(RetrainClassifier(LogisticRegression()))._repr_html_()
    assert f'href="{SITE}/generated/sk_unlearn.RetrainClassifier.html"' in html
    assert re.search(r'href="https://scikit-learn.org/[^"]*LogisticRegression.html"', html)


def test_without_an_address_there_is_no_link():
    clf = SisaClassifier(LogisticRegression())
    assert clf._get_doc_link() == ""
    assert "SisaClassifier" in clf._repr_html_()
    assert "generated/sk_unlearn" not in clf._repr_html_()


def test_a_class_of_the_user_has_no_page_of_ours(monkeypatch):
    class Mine(RetrainClassifier):
        pass

    monkeypatch.setenv("SK_UNLEARN_DOCS", SITE)
    assert Mine()._get_doc_link() == ""


def test_the_address_of_the_installed_package(monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("SK_UNLEARN_DOCS", raising=False)
    for urls, expected in (
        (["Source, https://code.example", f"Documentation, {SITE}"], SITE),
        (["Source, https://code.example"], ""),
        (None, ""),
    ):
        _doc_link._published.cache_clear()

        class Message:
            @staticmethod
            def get_all(name, default, urls=urls):
                return default if urls is None else urls

        monkeypatch.setattr(metadata, "metadata", lambda name: Message)
        assert _doc_link._published() == expected
    _doc_link._published.cache_clear()


def test_no_diagram_where_text_is_asked_for():
    with sklearn.config_context(display="text"):
        assert not hasattr(RetrainClassifier(), "_repr_html_")
