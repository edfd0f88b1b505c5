#!/bin/sh
# Run by OpenWrt's CI on the target: test.sh PACKAGE VERSION
set -e
case "$1" in
	ovng)
		ovng --version | grep -F "ovng $2"
		ovng --version | grep -F "libcrypto (data): OpenSSL 3"
		dir=$(mktemp -d)
		ovng request -C "$dir" probe
		[ "$(stat -c %a "$dir/probe.key")" = 600 ]
		rm -r "$dir"
		;;
	ovng-proto)
		sh -n /lib/netifd/proto/ovng.sh
		cd /lib/netifd/proto
		./ovng.sh '' dump | grep -F '"name":"ovng"'
		;;
esac
