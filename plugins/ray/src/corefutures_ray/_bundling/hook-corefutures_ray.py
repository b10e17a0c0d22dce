"""What a bundle with corefutures_ray needs besides what imports show: plugin module and metadata."""

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

hiddenimports = collect_submodules("corefutures_ray", lambda name: "._bundling" not in name, on_error="ignore")
datas = copy_metadata("corefutures-ray")
