#!/bin/sh
# Installs what pip cannot: `sh scripts/install_system_packages.sh run|test`. Does nothing where all of it is there.
# run: Python's venv, FFmpeg (packages.txt). test: a Chromium too.
set -eu

purpose=$1
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }
fail() { echo "error: $*" >&2; exit 1; }

apt_install() {
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || fail "not root and no sudo: ask an administrator to run: apt-get install $*"
        sudo=sudo
    fi
    echo "installing $*"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_for_run() {
    missing=
    if has apt-get; then
        has "$python" || missing="$missing python3"
        "$python" -c 'import ensurepip' 2>/dev/null || missing="$missing $(basename "$python")-venv"
        for package in $(cat packages.txt); do
            dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
        done
        [ -z "$missing" ] || apt_install $missing
    elif has brew; then
        has ffmpeg || brew install ffmpeg
    else
        has ffmpeg || fail "no FFmpeg found; install it with your system's package manager, then run make again"
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) found, 3.11 or newer needed; then: make PYTHON=python3.12 ..."
}

install_for_test() {
    for browser in chromium-headless-shell chromium chromium-browser google-chrome; do
        if has "$browser"; then return; fi
    done
    # Debian's own Chromium, without a window: it needs 40 % less time for a page. Ubuntu's is a snap, which a
    # container cannot run.
    if has apt-get && grep -qx 'ID=debian' /etc/os-release; then
        apt_install chromium-headless-shell
    elif has apt-get; then
        .venv/bin/python -m playwright install --with-deps --only-shell chromium
    else
        .venv/bin/python -m playwright install --only-shell chromium
    fi
}

case $purpose in
run) install_for_run ;;
test) install_for_test ;;
*) fail "usage: $0 run|test" ;;
esac
