# Waits for the end of the process that holds our stdin, then stops the servers
# below folder $1 and removes it. A file $1/*/pid contains "<pid> <signal>".
trap '' INT TERM HUP
read -r _
# A server that is just being launched gets the time to write its file.
sleep 0.05

each() {
    for file in "$1"/*/pid; do
        [ -r "$file" ] && read -r pid signal <"$file" && "$2"
    done
}
stop() {
    # A frozen server handles no signal until it is thawed. It may be frozen with its
    # children: they are thawed first.
    for child in $(cat "/proc/$pid/task/$pid/children"); do kill -CONT "$child"; done
    kill -CONT "$pid"
    kill "-$signal" "$pid"
}
runs() {
    # An ended process may remain a zombie for long until its new parent reaps it.
    read -r _ _ state _ <"/proc/$pid/stat" && [ "$state" != Z ]
}
kill_remaining() {
    tries=0
    while runs && [ "$tries" -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    children=$(cat "/proc/$pid/task/$pid/children")
    for process in "$pid" $children; do kill -KILL "$process"; done
}
each "$1" stop
each "$1" kill_remaining
rm -rf "$1"
