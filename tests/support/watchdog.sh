# Waits for the end of the process that holds our stdin, then stops the servers
# below folder $1 and removes it. A file $1/*/pid says "<pid> <signal>".
trap '' INT TERM HUP
read -r _
# A server that was being launched just now gets the time to write its file.
sleep 0.05

each() {
    for file in "$1"/*/pid; do
        [ -r "$file" ] && read -r pid signal <"$file" && "$2"
    done
}
ask() {
    # A frozen server hears nothing until it is thawed. It may have stopped with
    # its parts: the children are told first.
    for kid in $(cat "/proc/$pid/task/$pid/children"); do kill -CONT "$kid"; done
    kill -CONT "$pid"
    kill "-$signal" "$pid"
}
runs() {
    # An ended process may wait long for whoever inherited it to take note.
    read -r _ _ state _ <"/proc/$pid/stat" && [ "$state" != Z ]
}
insist() {
    tries=0
    while runs && [ "$tries" -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kids=$(cat "/proc/$pid/task/$pid/children")
    for victim in "$pid" $kids; do kill -KILL "$victim"; done
}
each "$1" ask
each "$1" insist
rm -rf "$1"
