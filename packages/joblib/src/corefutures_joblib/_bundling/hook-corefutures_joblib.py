"""The modules of corefutures_joblib that PyInstaller can't find by imports."""

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

hiddenimports = collect_submodules("corefutures_joblib", lambda name: "._bundling" not in name)
datas = copy_metadata("corefutures-joblib")
