# SPDX-License-Identifier: GPL-2.0
# races.awk FUNCTIONS LOG: a line for each race that KCSAN reported: the number of the
# line that begins the report, "ours" or "others", and where it was.
#
# It is ours when one of the two accesses is made by a function that is our own or has a
# hook of ours, or when one of our own is among the callers. Without any name in
# FUNCTIONS all are, and so is a report that does not end.

function name_of(symbol)
{
	sub(/\+0x.*/, "", symbol)
	return symbol
}

function tell()
{
	print line "\t" (ours ? "ours" : "others") "\t" where
	line = 0
}

FILENAME == ARGV[1] {
	if ($1 == "own" || !($2 in kind))
		kind[$2] = $1
	known = 1
	next
}

/BUG: KCSAN: / {
	if (line) {
		ours = 1
		tell()
	}
	line = FNR
	ours = !known
	where = $0
	sub(/.*BUG: KCSAN: /, "", where)
	n = split(where, word, " ")
	for (i = 1; i <= n; i++)
		if (name_of(word[i]) in kind)
			ours = 1
}

line && match($0, /[A-Za-z0-9_.]+\+0x[0-9a-f]+\/0x/) {
	if (kind[name_of(substr($0, RSTART, RLENGTH))] == "own")
		ours = 1
}

line && /Reported by Kernel Concurrency Sanitizer/ { tell() }

END {
	if (line) {
		ours = 1
		tell()
	}
}
