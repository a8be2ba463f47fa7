"""How the documentation is built: ``python -m sphinx -W -b html docs OUT``, without a network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extension"))

project = "dlbench"
author = "The dlbench authors"
copyright = "The dlbench authors, Apache-2.0"
version = release = installed_version("dlbench")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "made", "mathml"]
exclude_patterns = ["extension"]
suppress_warnings = ["config.cache"]  # of napoleon's callbacks, which cannot be pickled

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Shapes", ("Plain class attributes", "params_style")]
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"dlbench {release}"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
