# SPDX-License-Identifier: GPL-2.0
# A private apt: suites that the system does not use, through the system's own
# mirror, with lists and cache under $build/apt. Nothing is left in /etc/apt.
# Source lib.sh first.

apt_dir=$build/apt
apt_advice="check the network and the mirror in /etc/apt"

# the plain release of the system: "mirror codename"
system_mirror()
{
	apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)' \
		'Created-By: Packages' 2>/dev/null |
	awk -F'|' '$1 == "Debian" && $2 !~ /-/ && $3 == "main" && !n++ { print $4, $2 }'
}

# private_apt_setup SUITE [deb-src]: leaves the options for apt-get in apt_opts.
# The system's sources stay visible, for the packages that come along; without a SUITE
# they are all there is.
private_apt_setup()
{
	local suite=$1 type=${2:-deb} dir=$apt_dir/${1:-system}${2:+-$2} mirror codename key=
	command -v apt-get >/dev/null ||
		die "no apt-get here: the test beds need Debian 12; or give a kernel tree with KERNEL_SRC=dir and install tools/testbed/packages by hand"
	read -r mirror codename <<<"$(system_mirror)" || true
	if [ -z "$mirror" ]; then
		[ "$(id -u)" = 0 ] || die "apt has no package lists yet: run 'make demo' as root"
		advice=$apt_advice step "apt-get update" 300 "$logs/apt-update.log" apt-get update
		read -r mirror codename <<<"$(system_mirror)" || true
		[ -n "$mirror" ] || die "apt knows no Debian mirror: check /etc/apt/sources.list and the network; log: $logs/apt-update.log"
	fi
	[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
		key=' [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'

	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	{
		cat /etc/apt/sources.list 2>/dev/null || true
		[ -z "$suite" ] || echo "$type$key $mirror $suite main"
	} >"$dir/sources.list.new"
	# an unchanged file keeps its time stamp, which tells when lists are stale
	if cmp -s "$dir/sources.list.new" "$dir/sources.list"; then
		rm "$dir/sources.list.new"
	else
		mv "$dir/sources.list.new" "$dir/sources.list"
	fi
	apt_opts=(-o "Dir::Etc::sourcelist=$dir/sources.list"
		  -o "Dir::State::lists=$dir/lists"
		  -o "Dir::Cache=$dir/cache"
		  -o APT::Sandbox::User=root
		  -o Acquire::Languages=none
		  -o Acquire::Retries=3
		  -o DPkg::Lock::Timeout=600
		  -o Dpkg::Use-Pty=0)
}

# private_apt_update SUITE [deb-src]: lists at most a day old
private_apt_update()
{
	local dir=$apt_dir/${1:-system}${2:+-$2}
	private_apt_setup "$@"
	[ -z "$(find "$dir/updated" -newer "$dir/sources.list" -mmin -1440 2>/dev/null)" ] || return 0
	advice=$apt_advice step "apt-get update for ${1:-the system}" 300 "$logs/apt-${1:-system}.log" \
		apt-get "${apt_opts[@]}" -o APT::Update::Error-Mode=any update
	touch "$dir/updated"
}
