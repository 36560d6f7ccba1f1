"""Sphinx configuration. Building needs no network."""

import os
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import sk_unlearn

HERE = Path(__file__).parent

project = "sk_unlearn"
author = "The sk_unlearn developers"
copyright = f"2026, {author}"
release = sk_unlearn.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
root_doc = "index"
exclude_patterns = ["_build", "templates", "**/GALLERY_HEADER.rst"]
templates_path = ["templates"]
default_role = "literal"

# -- API pages: docs/api.rst is the one list ----------------------------------------------

autosummary_generate = True
autosummary_imported_members = True
autodoc_inherit_docstrings = False  # torch's text on `forward` says nothing about ours
autodoc_typehints = "none"  # numpydoc's Parameters sections say it with shapes and units
toc_object_entries_show_parents = "hide"  # "forget()", not "PumaClassifier.forget()"
# Members come from the page templates, not from numpydoc.
numpydoc_show_class_members = False
# What a docstring must have; a failed check is a warning, and warnings are errors here.
numpydoc_validation_checks = {
    "GL03",  # no double blank lines
    "GL06",  # no unknown sections
    "GL07",  # sections in the usual order
    "GL08",  # there is a docstring
    "GL10",  # directives end in two colons
    "SS01",  # there is a summary
    "SS02",  # ... that starts with a capital letter
    "SS03",  # ... and ends with a period
    "PR01",  # every parameter is documented
    "PR02",  # ... and exists
    "PR03",  # ... in the order of the signature
    "PR10",  # "name : type"
}
# Classes with many small methods of one line each; records, whose fields are attributes; a net
# with the parameters of skorch's.
numpydoc_validation_exclude = {
    r"^sk_unlearn\.approximate\.(ForgetPreview|RemovalRequest)",
    r"^sk_unlearn\.base\.Removal",
    r"^sk_unlearn\.(functional|metrics|model_selection|receipts)\.[A-Z]",
    r"^sk_unlearn\.nets\.DensityNet",
}


def _skip_foreign(app, what, name, obj, skip, options):
    """Leave out members that scikit-learn, torch or Python document."""
    function = getattr(obj, "fget", obj)
    module = getattr(function, "__module__", None) or ""
    return skip or not callable(function) or not module.startswith("sk_unlearn")


# -- Formulas as MathML: browsers draw it themselves, so that reading needs no network ----


def _math(translator, node):
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


html_math_renderer = "mathml"


def setup(app):
    app.connect("autodoc-skip-member", _skip_foreign)
    app.add_html_math_renderer("mathml", (_math, None), (_math, None))


# -- Gallery ------------------------------------------------------------------------------

# Where the examples leave their figures and tables.
os.environ["SK_UNLEARN_OUTPUT"] = str(HERE / "_build" / "examples")

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sk_unlearn",),
    "reference_url": {"sk_unlearn": None},
    "filename_pattern": r"[\\/]plot_",
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "show_signature": False,
}

# -- CHANGELOG.md as reStructuredText -----------------------------------------------------


def _to_rst(markdown):
    """Headings, code, links and lists, which is all that the change log uses."""
    lines = []
    for line in markdown.splitlines():
        heading = re.match(r"(#{1,3}) (.*)", line)
        if heading:
            text = heading[2].strip("[]")
            lines += [text, "=-~"[len(heading[1]) - 1] * len(text)]
            continue
        line = re.sub(r"`([^`]+)`", r"``\1``", line)
        lines.append(re.sub(r"\[([^\]]+)\]\((\S+?)\)", r"`\1 <\2>`__", line))
    return "\n".join(lines) + "\n"


(HERE / "generated").mkdir(exist_ok=True)
(HERE / "generated" / "changelog.inc").write_text(
    _to_rst((HERE.parent / "CHANGELOG.md").read_text(encoding="utf-8")), encoding="utf-8"
)

# -- HTML ---------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {version}"
html_static_path = ["static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
