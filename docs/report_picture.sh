#!/bin/sh
# Take the picture of a report that the README shows: docs/report_picture.sh RUN/report.html docs/report.png [ACCOUNT]
# Needs chromium and ImageMagick. The page reaches for no network; neither does the browser started here.
set -eu
page=$(realpath "$1")
picture=$2
account=${3:+#account=$3}
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=4000 --window-size=1400,2060 \
  --user-data-dir="$profile" --screenshot="$profile/page.png" "file://$page$account" >/dev/null 2>&1
convert "$profile/page.png" -strip -colors 96 -define png:compression-level=9 "$picture"
ls -l "$picture"
