#!/usr/bin/env bash
# Run a command with a display: the desktop's where there is one, else (or with --virtual) a virtual one, drawn in software.
set -euo pipefail

virtual=no
if [ "${1:-}" = --virtual ]; then
    virtual=yes
    shift
fi
if [ "$virtual" = no ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi
if ! command -v xvfb-run >/dev/null; then
    [ "$(uname -s)" = Linux ] || exec "$@"
    echo "xvfb-run is missing: on Debian or Ubuntu, apt-get install xvfb" >&2
    exit 1
fi
unset WAYLAND_DISPLAY
export LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb
exec xvfb-run --auto-servernum --server-args "-screen 0 1280x1024x24" "$@" </dev/null
