#!/bin/sh
# Says in one sentence each what `make` needs and does not find; prints the Python to use. Runs before there is a .venv,
# so it is plain sh. `darkroom doctor` tells more once Darkroom is installed.
missing=0
say() { printf '%s\n' "$1" >&2; missing=1; }

python=""
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    say "Python 3.11 or newer is missing: install it (Debian 12 and later: apt install python3 python3-venv), or name it with PYTHON=/path/to/python."
elif ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    say "$python has no venv module: install it (Debian: apt install python3-venv)."
fi

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
if [ -z "$version" ]; then
    say "Java is missing: install 17 or newer (Debian: apt install openjdk-17-jre-headless); Kafka runs on it."
elif [ "$version" -lt 17 ]; then
    say "Java $version is too old: install 17 or newer (Debian: apt install openjdk-17-jre-headless), or set JAVA_HOME."
fi

command -v mvn >/dev/null 2>&1 ||
    say "Maven (mvn) is missing: install it (Debian: apt install maven); it brings Kafka's jars."

[ "$missing" -eq 0 ] || exit 1
printf '%s\n' "$python"
