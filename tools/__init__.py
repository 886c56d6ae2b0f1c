"""The workshop: what builds, checks and retrains the book. Run each as `python -m tools.<name>`."""

import sys
import warnings

# a shell that makes warnings errors (PYTHONWARNINGS) stops no build
warnings.simplefilter("default")

# nbformat imports jsonschema, which makes a grammar of international web addresses as it is
# imported: two thirds of the time in which a command starts. Nothing here is checked by it, so
# jsonschema is told that this optional package is not there.
sys.modules.setdefault("rfc3987_syntax", None)
