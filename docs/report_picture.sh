#!/bin/sh
# Take the picture of a report that the README shows: docs/report_picture.sh RUN/report.html docs/report.png
# The verdict and the first accounts, and below them the distribution, worst scenarios and heat map of the house.
# Needs chromium and ImageMagick. The page reaches for no network; neither does the browser started here.
set -eu
page=$(realpath "$1")
picture=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

shot() { # NAME HEIGHT ANCHOR
  mkdir "$work/$1.profile"
  chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=4000 --window-size="1400,$2" \
    --user-data-dir="$work/$1.profile" --screenshot="$work/$1.png" "file://$page$3" >/dev/null 2>&1
}
shot top 790 ""
shot below 1180 "#distribution"
convert "$work/top.png" "$work/below.png" -append -strip -colors 96 -define png:compression-level=9 "$picture"
ls -l "$picture"
