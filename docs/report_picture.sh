#!/bin/sh
# Take the picture of a report that the README shows: docs/report_picture.sh RUN/report.html docs/report.png [Y:HEIGHT ...]
# The parts of the page named by Y:HEIGHT, one below the other: by default the verdict with the first accounts, and the P&L.
# Needs chromium and ImageMagick. The page reaches for no network; neither does the browser started here.
set -eu
page=$(realpath "$1")
picture=$2
shift 2
[ $# -gt 0 ] || set -- 0:790 2072:680
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=4000 --window-size=1400,5600 \
  --user-data-dir="$work/profile" --screenshot="$work/page.png" "file://$page" >/dev/null 2>&1
parts=""
for part in "$@"; do
  convert "$work/page.png" -crop "1400x${part#*:}+0+${part%:*}" +repage "$work/part-$part.png"
  parts="$parts $work/part-$part.png"
done
# shellcheck disable=SC2086
convert $parts -append -strip -colors 96 -define png:compression-level=9 "$picture"
ls -l "$picture"
