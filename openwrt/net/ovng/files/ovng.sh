#!/bin/sh
# netifd's handler for `proto 'ovng'`. netifd owns the process, addresses, routes and DNS; the daemon tells it by ubus
# what the interface should have (configured_by: netifd), here it is only started and ended.
#
# shellcheck disable=SC2034,SC2154 # netifd-proto.sh reads and sets variables by name
# shellcheck disable=SC3043        # busybox ash has `local`

[ -n "$INCLUDE_ONLY" ] || {
	# shellcheck source=/dev/null
	. ../netifd-proto.sh
	init_proto "$@"
}

OVNG="${OVNG:-/usr/bin/ovng}"
OVNG_ETC="${OVNG_ETC:-/etc/ovng}"
OVNG_RUN="${OVNG_RUN:-/var/run/ovng}"

proto_ovng_init_config() {
	no_device=1
	available=1
	renew_handler=1
	lasterror=1

	# A profile in a file, or all of it here; certificates and key are files either way.
	proto_config_add_string profile
	proto_config_add_string network
	proto_config_add_array switch
	proto_config_add_array addresses
	proto_config_add_array network_prefixes
	proto_config_add_array routes
	proto_config_add_string ca
	proto_config_add_string certificate
	proto_config_add_string key

	# Settings, which count before those of the profile.
	proto_config_add_array uplink
	proto_config_add_array metered
	proto_config_add_string mode
	proto_config_add_array accept_routes
	proto_config_add_array exit
	proto_config_add_string fwmark
	proto_config_add_int mtu
	proto_config_add_int keepalive
	proto_config_add_int port
	proto_config_add_string nice
	proto_config_add_string log_level
}

# Tell the owner (LuCI shows the code), and wait for `ifup` or another configuration.
ovng_give_up() { # INTERFACE CODE [WORDS]
	proto_notify_error "$@"
	proto_block_restart "$1"
}

# mwan3 leaves alone what carries all bits of its mask: we choose the uplink ourselves, and bind to it.
ovng_mwan3_mark() {
	[ -x /etc/init.d/mwan3 ] && /etc/init.d/mwan3 enabled || return 0
	uci -q get mwan3.globals.mmx_mask || echo 0x3F00
}

ovng_add_text() { # KEY VALUE: nothing where there is no value
	[ -z "$2" ] || json_add_string "$1" "$2"
}

ovng_add_list() { # KEY WORDS
	local word
	[ -n "$2" ] || return 0
	json_add_array "$1"
	for word in $2; do
		json_add_string "" "$word"
	done
	json_close_array
}

ovng_has() { # WORDS WORD
	case " $1 " in *" $2 "*) return 0 ;; esac
	return 1
}

# The listed uplinks in their order, and no others; without a list all there are.
ovng_add_uplinks() { # UPLINKS METERED
	local priority=0 word
	[ -n "$1$2" ] || return 0
	json_add_array uplinks
	for word in $1; do
		json_add_object ""
		json_add_string interface "$word"
		json_add_int priority "$priority"
		ovng_has "$2" "$word" && json_add_boolean metered 1
		json_close_object
		[ "$priority" -ge 255 ] || priority=$((priority + 1))
	done
	for word in $2; do
		ovng_has "$1" "$word" && continue
		json_add_object ""
		json_add_string interface "$word"
		json_add_boolean metered 1
		json_close_object
	done
	[ -z "$1" ] || {
		json_add_object ""
		json_add_string interface '*'
		json_add_boolean use 0
		json_close_object
	}
	json_close_array
}

# What UCI says, as JSON that ovng reads: settings, or the whole profile where `network` is given.
ovng_settings() { # INTERFACE
	local network ca certificate key mode fwmark mtu keepalive port nice log_level
	local switch addresses network_prefixes routes uplink metered accept_routes exit
	json_get_vars network ca certificate key mode fwmark mtu keepalive port nice log_level
	json_get_values switch switch
	json_get_values addresses addresses
	json_get_values network_prefixes network_prefixes
	json_get_values routes routes
	json_get_values uplink uplink
	json_get_values metered metered
	json_get_values accept_routes accept_routes
	json_get_values exit exit

	json_init
	json_add_string name "$1"
	json_add_string interface "$1"
	json_add_string configured_by netifd
	[ -z "$network" ] || {
		json_add_int ovng 1
		json_add_string kind node
		json_add_string network "$network"
		ovng_add_list switch "$switch"
		ovng_add_list addresses "$addresses"
		ovng_add_list network_prefixes "$network_prefixes"
		ovng_add_list routes "$routes"
		json_add_string ca "$(cat "${ca:-$OVNG_ETC/$1.ca}")"
		json_add_string certificate "$(cat "${certificate:-$OVNG_ETC/$1.crt}")"
		json_add_string key_file "${key:-$OVNG_ETC/$1.key}"
	}
	ovng_add_uplinks "$uplink" "$metered"
	ovng_add_text mode "$mode"
	ovng_add_list accept_routes "$accept_routes"
	ovng_add_list exit "$exit"
	ovng_add_text mark "${fwmark:-$(ovng_mwan3_mark)}"
	ovng_add_text mtu "$mtu"
	ovng_add_text keepalive "$keepalive"
	ovng_add_text port "$port"
	ovng_add_text nice "$nice"
	ovng_add_text log_level "$log_level"

	(umask 077 && mkdir -p "$OVNG_RUN" && json_dump >"$OVNG_RUN/$1.json")
}

proto_ovng_setup() { # INTERFACE
	local interface="$1" profile network
	set -f # an uplink may be a pattern
	json_get_vars profile network

	[ "${#interface}" -le 15 ] || {
		ovng_give_up "$interface" OVNG_NAME_TOO_LONG
		return 1
	}
	profile="${profile:-$OVNG_ETC/$interface.ovng}"
	[ -n "$network" ] || [ -f "$profile" ] || {
		ovng_give_up "$interface" OVNG_NO_PROFILE "$profile"
		return 1
	}
	ovng_settings "$interface" || {
		ovng_give_up "$interface" OVNG_NO_SETTINGS
		return 1
	}
	if [ -n "$network" ]; then
		proto_run_command "$interface" "$OVNG" up "$OVNG_RUN/$interface.json"
	else
		proto_run_command "$interface" "$OVNG" up --settings "$OVNG_RUN/$interface.json" "$profile"
	fi
}

# ERROR is the status with which the daemon ended by itself; 0 as well where a signal killed it.
proto_ovng_teardown() { # INTERFACE
	case "${ERROR:-}" in
		2) ovng_give_up "$1" OVNG_BAD_PROFILE ;;
		3) ovng_give_up "$1" OVNG_NOT_WANTED ;;
		1)
			proto_notify_error "$1" OVNG_FAILED
			sleep 2 # netifd starts it again at once
			;;
	esac
	proto_kill_command "$1"
	rm -f "$OVNG_RUN/$1.json"
}

# The profile's file has changed: read it again, without any loss.
proto_ovng_renew() { # INTERFACE
	proto_kill_command "$1" 1
}

[ -n "$INCLUDE_ONLY" ] || add_protocol ovng
