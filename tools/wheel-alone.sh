#!/usr/bin/env bash
# Install dist/*.whl, and nothing else of this checkout, into a fresh environment, and see that it works.
# Usage: wheel-alone.sh PYTHON
set -euo pipefail

wheel=$(echo "$PWD"/dist/*.whl)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
"$1" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet "$wheel"
cd "$room"
venv/bin/npe2 validate napari-densecrf
venv/bin/python - <<'PY'
from npe2 import PluginManifest

manifest = PluginManifest.from_distribution("napari-densecrf")
assert manifest.name == "napari-densecrf", manifest.name
assert [widget.display_name for widget in manifest.contributions.widgets] == ["Dense CRF"]
print("npe2 finds", manifest.name, manifest.package_version)
PY
venv/bin/python -c "import napari_densecrf; print('imports', napari_densecrf.__all__)"
venv/bin/napari-densecrf --help >/dev/null
