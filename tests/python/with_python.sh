#!/bin/sh
# with_python.sh SOURCE_DIR "MODULE..." SCRIPT ARGUMENT...: runs SCRIPT with the first Python that has the modules: the project's own
# environment, what is on the path, the system's. Exit code 77 (skipped) when none has.
source_dir=$1
modules=$2
shift 2
imports=$(echo "$modules" | sed 's/ /, /g')
for python in "$source_dir/.deps/venv/bin/python3" python3 /usr/bin/python3; do
  if command -v "$python" >/dev/null 2>&1 && "$python" -c "import $imports" >/dev/null 2>&1; then
    exec "$python" "$@"
  fi
done
echo "SKIPPED: no Python here has $modules (deploy/setup.sh makes $source_dir/.deps/venv; or: apt-get install python3-h5py)"
exit 77
