#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what the lab needs and is missing: Debian packages, and the Python
# environment in .venv. Does nothing, quickly, when all is there.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
native=$(dpkg --print-architecture 2>/dev/null) || {
	echo "setup: this is not Debian; install the like of what umcglab/setup/packages lists" >&2
	exit 3
}

wanted=$(sed -e 's/#.*//' -e "/\[!$native\]/d" -e 's/\[.*//' "$top/umcglab/setup/packages")
have=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^.i *//p')
missing=''
for package in $wanted; do
	printf '%s\n' "$have" | grep -qxF "$package" || missing="$missing $package"
done

if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ]; then
		as_root=''
	elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		as_root='sudo'
	else
		echo "setup: packages are missing; as root, type: apt-get update && apt-get install -y --no-install-recommends$missing" >&2
		exit 3
	fi
	echo "setup: installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086  # $as_root and $missing are lists of words
	{
		$as_root apt-get update -q &&
			$as_root apt-get install -q -y --no-install-recommends $missing
	} || {
		echo "setup: apt-get failed, see above" >&2
		exit 3
	}
fi

stamp="$top/.venv/stamp"
want="$(sha256sum <"$top/pyproject.toml") $top"
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
		echo "setup: python3 is older than 3.11" >&2
		exit 3
	}
	echo "setup: making the Python environment in .venv"
	rm -rf "$top/.venv"
	{
		python3 -m venv "$top/.venv" &&
			"$top/.venv/bin/pip" install -qq --disable-pip-version-check -e "${top}[dev]"
	} || {
		echo "setup: could not make the Python environment, see above" >&2
		exit 3
	}
	printf '%s' "$want" >"$stamp"
fi
