# Of user data in several parts, as the orchestration service packs it: the part that is a script.
BEGIN { mark = "" }
{ sub(/\r$/, "") }
mark == "" && match($0, /boundary="[^"]+"/) {
    mark = "--" substr($0, RSTART + 10, RLENGTH - 11)
}
mark != "" && index($0, mark) == 1 { head = 1; mine = 0; part = 0; next }
head && /filename="cfn-userdata"/ { mine = 1 }
head && /^$/ { head = 0; part = mine; next }
part { print }
