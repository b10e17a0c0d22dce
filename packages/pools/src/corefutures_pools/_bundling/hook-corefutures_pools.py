"""What a bundle with corefutures_pools needs besides what its imports show."""

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

hiddenimports = collect_submodules("corefutures_pools", lambda name: "._bundling" not in name)
datas = copy_metadata("corefutures-pools")
