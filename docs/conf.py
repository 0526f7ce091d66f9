"""Sphinx's configuration: ``make docs``."""

from importlib.metadata import version as version_of

project = "oban-sqla"
copyright = "the authors of oban-sqla"
release = version = version_of("oban-sqla")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_extra_path = ["llms.txt"]
html_title = f"oban-sqla {release}"

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give them, with units and defaults
