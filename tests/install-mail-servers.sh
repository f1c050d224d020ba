#!/usr/bin/env bash
# Makes sure that tests/mail finds Postfix and Dovecot. Where it cannot, it says so in one line and fails; the tests skip.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"

complete() {
  command -v postfix >/dev/null && command -v dovecot >/dev/null &&
    [ -e /usr/lib/dovecot/imap ] && [ -e /usr/lib/dovecot/lmtp ]
}

complete && exit
mkdir -p .make
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Postfix and Dovecot for the mail tests ..." >&2
  # The tests start servers of their own; the packages must not start any.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  {
    apt-get update
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    apt-get install -y --no-install-recommends postfix dovecot-core dovecot-imapd dovecot-lmtpd
  } >.make/mail-servers.log 2>&1 || true
  complete && exit
  tail -3 .make/mail-servers.log >&2
fi
echo "WARNING: no Postfix and Dovecot here (root of a Debian could install them): tests/mail is SKIPPED." >&2
exit 1
