#!/usr/bin/env bash
# Open the demo on the desktop; without one, on a virtual display, and leave a picture and the labels in demo/.
# Usage: demo.sh PROGRAM
set -euo pipefail

if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname -s)" = Darwin ]; then
    exec "$1" demo
fi
mkdir -p demo
echo "No display here: running the demo on a virtual one."
"$(dirname "$0")/with-display.sh" --virtual "$1" demo --screenshot demo/screenshot.png --labels demo/refined.tif
