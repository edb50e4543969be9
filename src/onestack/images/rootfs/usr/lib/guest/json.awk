# Flattens a JSON text: one line "path<TAB>value" for each scalar, paths like
# keys.0.data. A newline within a string stays written as \n.
function blanks() { match(text, /^[ \t\r\n]*/); text = substr(text, RLENGTH + 1) }
function word(  found) {
    match(text, /^"([^"\\]|\\.)*"/)
    found = substr(text, 2, RLENGTH - 2)
    text = substr(text, RLENGTH + 1)
    gsub(/\\"/, "\"", found)
    gsub(/\\\//, "/", found)
    return found
}
function value(path,  first, n, key) {
    blanks()
    first = substr(text, 1, 1)
    if (first == "{" || first == "[") {
        text = substr(text, 2)
        for (n = 0; ; n++) {
            blanks()
            if (text == "" || substr(text, 1, 1) ~ /[]}]/) { text = substr(text, 2); return }
            if (substr(text, 1, 1) == ",") { text = substr(text, 2); blanks() }
            key = n
            if (first == "{") { key = word(); blanks(); text = substr(text, 2) }
            value(path == "" ? key : path "." key)
        }
    }
    if (first == "\"") { print path "\t" word(); return }
    match(text, /^[^],} \t\r\n]*/)
    print path "\t" substr(text, 1, RLENGTH)
    # at least one character, so that a broken text ends too
    text = substr(text, RLENGTH > 0 ? RLENGTH + 1 : 2)
}
{ text = text $0 "\n" }
END { value("") }
