#!/usr/bin/env bash
# Makes sure that the browser tests find a Chromium, and prints where it is. With --find it only looks.
set -euo pipefail
cd "$(dirname "$0")/.."

find_browser() {
  for name in chromium chromium-browser google-chrome; do
    command -v "$name" && return
  done
  # One that Playwright fetched earlier; it knows best where that lies.
  own=$(.venv/bin/python -c 'from playwright.sync_api import sync_playwright
with sync_playwright() as p: print(p.chromium.executable_path)' 2>/dev/null) && [ -x "$own" ] && echo "$own"
}

find_browser && exit
[ "${1:-}" = --find ] && exit 1

mkdir -p .make
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Chromium for the browser tests ..." >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >.make/browser.log 2>&1 || true
  find_browser && exit
fi
echo "fetching Playwright's Chromium for the browser tests ..." >&2
.venv/bin/python -m playwright install chromium >>.make/browser.log 2>&1 || true
find_browser && exit

tail -5 .make/browser.log >&2
echo "There is no Chromium, and it could not be installed: install the package chromium (Debian) or Google Chrome." >&2
exit 1
