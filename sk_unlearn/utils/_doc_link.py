"""The link to the documentation in an estimator's HTML diagram."""

import os
from functools import cache
from importlib import import_module, metadata
from itertools import takewhile

__all__ = ["DocLinkMixin"]


class DocLinkMixin:
    """Link to the class's page in the API reference.

    The address is that of the environment variable ``SK_UNLEARN_DOCS``, for example of a
    copy of the documentation on a server of one's own, else the URL called Documentation in
    the metadata of the installed package. Without either there is no link.
    """

    _doc_link_module = "sk_unlearn"

    @property
    def _doc_link_template(self):
        url = os.environ.get("SK_UNLEARN_DOCS") or _published()
        return f"{url.rstrip('/')}/generated/{{page}}.html" if url else ""

    def _doc_link_url_param_generator(self):
        return {"page": _public_name(type(self))}


def _public_name(kind):
    """Name under which a class is documented: ``sk_unlearn`` itself, or its subpackage."""
    top = kind.__module__.split(".")[0]
    if getattr(import_module(top), kind.__name__, None) is kind:
        return f"{top}.{kind.__name__}"
    public = takewhile(lambda part: not part.startswith("_"), kind.__module__.split("."))
    return ".".join([*public, kind.__name__])


@cache
def _published():
    try:
        urls = metadata.metadata("sk-unlearn").get_all("Project-URL", [])
    except metadata.PackageNotFoundError:
        return ""
    named = dict(entry.split(", ", 1) for entry in urls)
    return named.get("Documentation", "")
