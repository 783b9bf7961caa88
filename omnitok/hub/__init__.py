"""Published models: folders and files of model hubs read into runs, and runs written as such folders."""

from .exports import export_model, export_run
from .files import Published, read_published
from .imports import import_run, preset_of

__all__ = ["Published", "export_model", "export_run", "import_run", "preset_of", "read_published"]
