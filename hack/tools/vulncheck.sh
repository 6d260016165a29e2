#!/usr/bin/env bash
# Looks for known vulnerabilities in what packages call, their dependencies and Go's
# own library included:
#   hack/tools/vulncheck.sh [package...]     (./... if there is none)
# The database comes from GOVULNDB, or else from https://vuln.go.dev. Ends with 0 if
# nothing was found, 3 if something was, 4 if the database could not be reached and
# nothing was checked, 1 for anything else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { echo "vulncheck: $*" >&2; }
db=${GOVULNDB:-https://vuln.go.dev}
tool=$(hack/tools/ensure.sh govulncheck)
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
code=0
"$tool" -db "$db" "${@:-./...}" 2>"$errors" || code=$?
cat "$errors" >&2
case $code in
  0) say "nothing found" ;;
  3) say "vulnerabilities found, see above" ;;
  *)
    # It has no exit code of its own for this; the second is what it says of an own database.
    if grep -qE 'fetching vulnerabilities|creating client' "$errors"; then
      say "NOT CHECKED: the database $db cannot be reached"
      exit 4
    fi
    say "failed, see above"
    exit 1 ;;
esac
exit "$code"
