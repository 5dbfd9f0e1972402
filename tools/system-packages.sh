#!/bin/sh
# Installs what the system lacks, and says so first: tools/system-packages.sh python|demo|test
# Where it cannot, one line says everything that is lacking. A system that lacks nothing is left alone, and quickly.
set -u
kind=${1:?python, demo or test}
python=${PYTHON:-python3}
lacking=

lack() {
    for package; do
        case " $lacking " in *" $package "*) ;; *) lacking="$lacking $package" ;; esac
    done
}

stop() {
    echo "error: this system lacks$lacking, and $1: install them, then try again" >&2
    exit 2
}

# library SONAME PACKAGE: of what OpenCV's wheel needs and does not bring along; a test compares the two.
libraries=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null)
library() {
    case $libraries in "" | *"	$1 "*) ;; *) lack "$2" ;; esac # "": no such list here, and OpenCV will tell
}

program() {
    command -v "$1" >/dev/null || lack "$2"
}

if ! command -v "$python" >/dev/null; then
    [ "$python" = python3 ] && lack python3 python3-venv # any other is what somebody asked for: make tells them
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    lack "$(basename "$python")-venv"
fi
case $kind in demo | test)
    library libGL.so.1 libgl1
    library libglib-2.0.so.0 libglib2.0-0
    library libgthread-2.0.so.0 libglib2.0-0
    library libxcb.so.1 libxcb1
    library libstdc++.so.6 libstdc++6
    library libgcc_s.so.1 libgcc-s1
    ;;
esac
case $kind in test)
    program strace strace # shows what a process asks of the system
    # The RTSP server of the tests: GStreamer's, with its bindings for the system's own Python.
    /usr/bin/python3 "$(dirname "$0")/../tests/rtsp_server.py" --check >/dev/null 2>&1 || lack python3-gi \
        gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
    ;;
esac
[ -n "$lacking" ] || exit 0

sudo=
command -v apt-get >/dev/null || stop "has no apt-get"
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    # Without a terminal nobody can type a password.
    command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; } || stop "installing takes root or sudo"
fi
install="apt-get install --yes --no-install-recommends$lacking"
echo "this system lacks$lacking; running: ${sudo:+sudo }$install"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
lock="-o DPkg::Lock::Timeout=300"
# Lists that cannot be renewed may still do: the second command tells.
$sudo apt-get $lock update >"$log" 2>&1
$sudo env DEBIAN_FRONTEND=noninteractive $install $lock >>"$log" 2>&1 </dev/null ||
    stop "apt-get could not install them ($(grep -m 1 '^E: ' "$log" || tail -n 1 "$log"))"
