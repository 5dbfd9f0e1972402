#!/usr/bin/env bash
# Are two commands the whole set-up? A bare Debian is made in a folder (python3, python3-venv and make, nothing else),
# the last commit of this checkout is cloned into it, and the commands run there, as root of that Debian.
#
#   tests/fresh.sh [wheel] [demo] [test]     by default all three, in this order
#
# SUITE=trixie takes another release of Debian; KEEP=1 leaves the folder; TESTS="-m 'not slow'" goes to pytest.
# Needs root, debootstrap and git. How this machine reaches its package servers is copied, not written down here.
set -euo pipefail
{ # read to its end before it runs, so that an edit meanwhile does no harm
checkout=$(cd "$(dirname "$0")/.." && pwd)
suite=${SUITE:-bookworm}
[[ $# != 0 ]] || set -- wheel demo test
for step; do
    case $step in wheel | demo | test) ;; *) echo "error: no step $step: expected wheel, demo or test" >&2; exit 2 ;; esac
done

unusable() { echo "error: tests/fresh.sh cannot make a bare Debian here: $1" >&2; exit 2; }
[[ $(id -u) == 0 ]] || unusable "it has to run as root"
PATH=$PATH:/usr/sbin:/sbin
for program in debootstrap chroot unshare git; do
    command -v $program >/dev/null || unusable "no $program (apt-get install debootstrap git util-linux)"
done
unshare --mount true 2>/dev/null || unusable "this system lets nobody mount anything (a container without CAP_SYS_ADMIN?)"

root=$(mktemp --directory --tmpdir edge-app-fresh.XXXXXX)
log=$root.log
leave() {
    if [[ ${KEEP:-} ]]; then echo "kept: $root, $log"; else rm -rf --one-file-system "$root" "$log"; fi
}
trap leave EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }
fail() { echo "FAILED: $1" >&2; exit 1; }

# --- the bare Debian ------------------------------------------------------------------------------------------------

say "$suite in $root"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | head -n 1)
debootstrap --variant=minbase --include=python3,python3-venv,make "$suite" "$root" ${mirror:+"$mirror"} >"$log" 2>&1 ||
    unusable "debootstrap failed ($(grep -m 1 '^E: ' "$log" || tail -n 1 "$log"))"
git clone --quiet --no-local "$checkout" "$root/root/edge_app"

# Proxies, certificates, and where apt and pip look: as on this machine.
take() { [[ ! -e $1 ]] || { mkdir -p "$root${1%/*}" && cp -rL "$1" "$root${1%/*}/"; }; }
pip_settings=(/etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip")
for path in /etc/resolv.conf /etc/hosts /etc/apt/apt.conf.d /etc/apt/auth.conf.d "${pip_settings[@]}"; do take "$path"; done
environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8)
while IFS= read -r variable; do
    environment+=("$variable")
    take_file=${variable#*=}
    [[ ! -f $take_file ]] || take "$take_file"
done < <(env | grep -iE '^(pip_|[a-z]+_proxy=|ssl_cert_file=|requests_ca_bundle=)')
# Folders of packages that pip is told to look into; the files of an index lie beside its folder `simple`.
mapfile -t folders < <({ env | grep '^PIP_'; cat "${pip_settings[@]}" "${pip_settings[@]/%//pip.conf}" 2>/dev/null; } |
    grep -oE '(=|file://|[[:space:]])/[^[:space:],]+' | sed -E 's,^[^/]*(//)?,,; s,/simple/?$,,' | sort -u)

# `inside COMMAND` runs it in the new root. Its mounts are seen by nothing else, and go when it ends.
inside() {
    unshare --mount --propagation private --fork --kill-child bash -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmpfs "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
        while [[ $1 != -- ]]; do
            if [[ -d $1 ]]; then mkdir -p "$root$1"; mount --bind "$1" "$root$1"; fi
            shift
        done
        shift
        exec chroot "$root" "$@"
    ' fresh "$root" "${folders[@]}" -- env -i "${environment[@]}" sh -c "cd /root/edge_app && $1"
}

# --- the commands ---------------------------------------------------------------------------------------------------

lacks="OpenCV needs .*, which this system lacks: sudo apt-get install "
for step; do
    say "$step"
    case $step in
    wheel)
        inside "make wheel"
        inside "! ls .venv/lib/python3*/site-packages | grep -x torch" || fail "make wheel installed torch"
        inside "python3 -m venv /root/wheel && cd / && wheel=\$(echo /root/edge_app/dist/*.whl) &&
            /root/wheel/bin/pip install --quiet \"\$wheel[demo]\" --constraint /root/edge_app/constraints.txt"
        inside "cd / && /root/wheel/bin/edge-app run demo" 2>"$log" && fail "the wheel ran without OpenCV's libraries"
        cat "$log"
        [[ $(wc -l <"$log") == 1 ]] && grep -q "$lacks" "$log" || fail "not one line that names what is lacking"
        # What that line says must be all it takes.
        inside "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends --yes \
            $(sed "s/.*sudo apt-get install //" "$log")" >/dev/null 2>&1 || fail "its packages cannot be installed"
        inside "cd / && /root/wheel/bin/edge-app doctor && /root/wheel/bin/edge-app run demo --max-frames 50"
        # The next step begins as bare as this one did.
        inside "DEBIAN_FRONTEND=noninteractive apt-get -qq purge --autoremove --yes \
            $(sed "s/.*sudo apt-get install //" "$log")" >/dev/null 2>&1 || fail "its packages cannot be removed again"
        inside "rm -rf .venv dist build /root/wheel"
        ;;
    demo)
        inside "make demo"
        inside "test -s demo-out/annotated.mp4 && test -s demo-out/events.jsonl && test -s demo-out/summary.json"
        ;;
    test) inside "CI=1 PYTEST_ADDOPTS=\"${TESTS:-}\" make test" ;;
    esac
done
say "passed: $*, on a bare $suite"
exit
}
