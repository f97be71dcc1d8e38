"""Settings of the site, which `make docs` builds without a network: no web fonts, no scripts from elsewhere."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

# Notebooks compile much and compute little: the compiler takes its shortest ways, and keeps what it has made.
quick_to_compile = [
    *("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"),
    "--xla_disable_hlo_passes=while-loop-invariant-code-motion,simplify-while-loops",
]
os.environ.setdefault("XLA_FLAGS", " ".join(quick_to_compile))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE / "build" / "compiled"))

project = "metagrad"
html_title = "metagrad"
html_theme = "furo"
html_static_path = ["pictures"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_copyright = False
exclude_patterns = ["build", "extensions"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "reference",
    "command_flags",
    "results_pages",
]
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

nb_execution_mode = "force"  # what is stored would hide that the library has changed
nb_execution_excludepatterns = ["results/**"]
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress

highlight_language = "none"
smartquotes = False  # flags begin with two hyphens
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
default_role = "py:obj"  # a name in single backticks is a link where it has a place here
