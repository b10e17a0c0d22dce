"""The modules of corefutures_tools that PyInstaller can't find by imports."""

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

_LEFT_OUT = ("corefutures_tools._bundling", "corefutures_tools._commands", "corefutures_tools._interpreting")

hiddenimports = collect_submodules("corefutures_tools", lambda name: not name.startswith(_LEFT_OUT))
datas = copy_metadata("corefutures-tools")
