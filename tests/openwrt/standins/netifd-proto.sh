# Stands in for netifd's netifd-proto.sh: what a handler calls becomes the same `ubus` calls as there.

. "$STANDINS/jshn.sh"

_add_option() { # TYPE NAMES: 1 array, 3 string, 5 int, 7 boolean, as UCI has them
	_type=$1
	shift
	for _name in "$@"; do
		json_add_array ''
		json_add_string '' "$_name"
		json_add_int '' "$_type"
		json_close_array
	done
}
proto_config_add_string() { _add_option 3 "$@"; }
proto_config_add_array() { _add_option 1 "$@"; }
proto_config_add_int() { _add_option 5 "$@"; }
proto_config_add_boolean() { _add_option 7 "$@"; }

_notify() { # INTERFACE; the message was begun
	json_add_string interface "$1"
	ubus call network.interface notify_proto "$(json_dump)"
}
_words() { # INTERFACE KEY WORDS
	_interface=$1
	json_add_array "$2"
	shift 2
	for _word in "$@"; do json_add_string '' "$_word"; done
	json_close_array
	_notify "$_interface"
}
_begin() {
	json_init
	json_add_int action "$1"
}
proto_run_command() { _begin 1; _i=$1; shift; _words "$_i" command "$@"; }
proto_kill_command() { _begin 2; [ -z "$2" ] || json_add_int signal "$2"; _notify "$1"; }
proto_notify_error() { _begin 3; _i=$1; shift; _words "$_i" error "$@"; }
proto_block_restart() { _begin 4; _notify "$1"; }

init_proto() { _proto=$1 _command=$2 _interface=$3 _data=$4; }

add_protocol() {
	if [ "$_command" = dump ]; then
		no_device=0 no_proto_task=0 available=0 renew_handler=0 lasterror=0
		json_init
		json_add_string name "$1"
		json_add_array config
		"proto_$1_init_config"
		json_close_array
		for _flag in no-device no-proto-task available renew-handler lasterror; do
			eval "json_add_boolean $_flag \$$(echo "$_flag" | tr - _)"
		done
		json_dump
	elif [ "$_proto" = "$1" ]; then
		json_load "$_data"
		"proto_$1_$_command" "$_interface"
	fi
}
