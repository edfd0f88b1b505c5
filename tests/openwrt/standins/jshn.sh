# Stands in for libubox's jshn.sh, as far as our scripts use it: the same functions, over jshn.py beside it.
# JSON_TEXT and JSON_PATH are what is read and where we are in it; JSON_OPS is what is being made, one word a line.

_jshn() { "${PYTHON:-python3}" -I -S "$STANDINS/jshn.py" "$@"; }
_json_op() { JSON_OPS="$JSON_OPS$1 $2 $(printf '%s' "$3" | base64 -w0)
"; }

json_init() { JSON_OPS=''; }
json_load() { JSON_TEXT=$1 JSON_PATH=''; }
json_dump() { printf '%s' "$JSON_OPS" | _jshn dump; }
json_add_string() { _json_op string "${1:--}" "$2"; }
json_add_int() { _json_op int "${1:--}" "$2"; }
json_add_boolean() { _json_op boolean "${1:--}" "$2"; }
json_add_object() { _json_op object "${1:--}" ''; }
json_add_array() { _json_op array "${1:--}" ''; }
json_close_object() { _json_op close - ''; }
json_close_array() { _json_op close - ''; }
json_get_vars() { eval "$(_jshn vars "$JSON_TEXT" "$JSON_PATH" "$@")"; }
json_get_values() { eval "$1=\$(_jshn values \"\$JSON_TEXT\" \"\$JSON_PATH\" \"\$2\")"; }
json_select() {
	case "$1" in
		..) JSON_PATH=${JSON_PATH%/*} ;;
		*) _jshn has "$JSON_TEXT" "$JSON_PATH" "$1" && JSON_PATH=$JSON_PATH/$1 ;;
	esac
}
json_for_each_item() {
	local _function=$1 _target=$2 _key=''
	shift 2
	json_select "$_target" || return 0
	for _key in $(_jshn keys "$JSON_TEXT" "$JSON_PATH"); do
		"$_function" - "$_key" "$@"
	done
	json_select ..
}
