#!/usr/bin/env bash
# Install the Debian packages that are missing, where this user may; otherwise say which, and go on.
# Usage: system-libraries.sh [xvfb] [qt] [g++]
set -euo pipefail

packages=()
for need in "$@"; do
    case "$need" in
        xvfb) [ "$(uname -s)" != Linux ] || command -v Xvfb >/dev/null || packages+=(xvfb) ;;
        g++) command -v g++ >/dev/null || packages+=(g++) ;;
        qt)
            [ "$(uname -s)" = Linux ] || continue
            # One library of each package, as the linker knows it.
            for pair in libegl1:libEGL.so.1 libgl1:libGL.so.1 libxkbcommon-x11-0:libxkbcommon-x11.so.0 \
                libxcb-cursor0:libxcb-cursor.so.0 libxcb-icccm4:libxcb-icccm.so.4 libxcb-image0:libxcb-image.so.0 \
                libxcb-keysyms1:libxcb-keysyms.so.1 libxcb-randr0:libxcb-randr.so.0 \
                libxcb-render-util0:libxcb-render-util.so.0 libxcb-shape0:libxcb-shape.so.0 \
                libxcb-xinerama0:libxcb-xinerama.so.0 libdbus-1-3:libdbus-1.so.3 \
                libfontconfig1:libfontconfig.so.1; do
                /sbin/ldconfig -p 2>/dev/null | grep -q "${pair#*:}" || packages+=("${pair%%:*}")
            done
            [ -n "$(find /usr/lib -name 'swrast_dri.so' -o -name 'libgallium*' 2>/dev/null | head -n 1)" ] \
                || packages+=(libgl1-mesa-dri)
            ;;
    esac
done
[ ${#packages[@]} -gt 0 ] || exit 0

export DEBIAN_FRONTEND=noninteractive
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"
elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then
    sudo apt-get update -q && sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
else
    echo "These packages seem to be missing, and cannot be installed from here: ${packages[*]}" >&2
    echo "On Debian or Ubuntu: apt-get install ${packages[*]}" >&2
fi
