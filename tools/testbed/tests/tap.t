#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The sum of a suite must not be better than the suite was.
set -eu -o pipefail
dir=$(cd "$(dirname "$0")" && pwd)
n=0
failed=0

# sums WANT NAME TAP: it must add up to WANT, "pass fail skip"
sums()
{
	local got
	# shellcheck disable=SC2059 # the TAP is a format, for its line ends
	got=$(printf "$3" | awk -f "$dir/tap.awk" | head -n 1)
	n=$((n + 1))
	if [ "$got" = "$1" ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		echo "# wanted '$1', got '$got'"
		failed=1
	fi
}

echo "TAP version 13"
echo "1..15"
sums "2 0 0" "all good" 'TAP version 13\n1..2\nok 1 a\nok 2 b\n'
sums "2 0 0" "without a version line" '1..2\nok 1 a\nok 2 b\n'
sums "2 0 0" "plan at the end" 'TAP version 13\nok 1 a\nok 2 b\n1..2\n'
sums "1 1 0" "a failure" 'TAP version 13\n1..2\nok 1 a\nnot ok 2 b\n'
sums "1 0 1" "a skip" 'TAP version 13\n1..2\nok 1 a # SKIP no\nok 2 b\n'
sums "0 0 1" "all skipped" 'TAP version 13\n1..0 # SKIP nothing here\n'
sums "2 1 0" "it ended early" 'TAP version 13\n1..3\nok 1 a\nok 2 b\n'
sums "2 1 0" "more tests than planned" 'TAP version 13\n1..1\nok 1 a\nok 2 b\n'
sums "1 0 0" "subtests are the parent's" 'TAP version 13\n1..1\n    not ok 1 sub\nok 1 a\n'
sums "2 1 0" "the second block ended early" 'TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..2\nok 1 a\n'
sums "2 1 0" "the first block ended early" 'TAP version 13\n1..2\nok 1 a\nTAP version 13\n1..1\nok 1 a\n'
sums "0 1 0" "a plan of no tests" 'TAP version 13\n1..0\n'
sums "1 1 0" "it bailed out" 'TAP version 13\n1..1\nok 1 a\nBail out! help\n'
sums "1 1 0" "a program that said nothing" '# program: x\nTAP version 13\n# program: y\nTAP version 13\n1..1\nok 1 a\r\n'
sums "0 1 0" "no TAP at all" 'Segmentation fault\n'
exit "$failed"
