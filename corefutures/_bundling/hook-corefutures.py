"""The modules of corefutures that PyInstaller can't find by imports: nearly all are imported on first use.

Backends are found by metadata, so a bundle has those that are installed, each with its own hook. It has Dask's and
the other engines', which bring large libraries, only if the program imports them, as `corefutures_dask`.
"""

from importlib.metadata import entry_points
from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

from corefutures.registry._known import OWN_CLASSES, OWN_DISTRIBUTIONS

_HEAVY = OWN_DISTRIBUTIONS.keys() - OWN_CLASSES.keys()
_LEFT_OUT = ("corefutures.__main__", "corefutures._bundling", "corefutures.cli")

hiddenimports = collect_submodules("corefutures", lambda name: not name.startswith(_LEFT_OUT))
datas = [*copy_metadata("corefutures"), *collect_data_files("corefutures")]
_FORWARDED = (
    "corefutures_monitor",
    "corefutures_pools",
    "corefutures_structured",
    "corefutures_tools",
)  # their names are in `corefutures`
hiddenimports += [module for module in _FORWARDED if find_spec(module) is not None]
for entry_point in entry_points(group="corefutures.backends"):
    if entry_point.dist is not None and entry_point.name not in _HEAVY:
        hiddenimports.append(entry_point.module)
        datas += copy_metadata(entry_point.dist.name)
