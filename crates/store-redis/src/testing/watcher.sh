# Stops a server once no test uses it, however the tests ended. $1: its directory, $2: its process, $3: what its users
# keep locked.
exec 9>>"$3"
idle=0
for _ in $(seq 10000); do
    [ "$(readlink "/proc/$2/cwd")" = "$1/data" ] || exit 0
    if flock --nonblock --exclusive 9; then
        idle=$((idle + 1))
        # Still locked: a test that starts now waits, and starts a server of its own.
        [ "$idle" -gt 5 ] && break
        flock --unlock 9
    else
        idle=0
    fi
    sleep 2
done
# One that stands still hears nothing else.
kill -KILL "$2"
for _ in $(seq 100); do
    [ -d "/proc/$2" ] || break
    sleep 0.1
done
rm -rf "$1"
