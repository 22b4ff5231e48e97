#!/bin/sh
# Install mmcv with its compiled operators into a virtual environment that has torch already.
# A prebuilt wheel is taken from a folder if one is there and fits; otherwise mmcv is compiled.
#
# usage: install_mmcv.sh PYTHON DISTRIBUTION VERSION SETUPTOOLS WHEEL_FOLDER JOBS CONSTRAINTS
set -eu
python=$1 distribution=$2 version=$3 setuptools=$4 wheels=$5 jobs=$6 constraints=$7

pip() { "$python" -m pip -qq --disable-pip-version-check --no-input "$@"; }
# cv2 and the compiled extension must load, not only be there: a wheel may be for another torch.
works() { "$python" -c 'import mmcv.ops' 2>/dev/null; }

# What the build needs; --no-build-isolation means that pip does not bring it.
pip install -c "$constraints" "$setuptools" wheel ninja psutil

if [ -d "$wheels" ]; then
    # --only-binary for this one package: its dependencies may come as they like.
    if pip install -c "$constraints" --find-links "$wheels" --only-binary "$distribution" \
            "$distribution==$version" 2>/dev/null && works; then
        echo "[setup] took $distribution $version from $wheels"
        exit 0
    fi
    echo "[setup] no wheel in $wheels fits this Python and torch"
    pip uninstall -y "$distribution" || true
fi

echo "[setup] compiling $distribution $version: this takes 20 to 26 minutes on two cores" \
     "(once; pip keeps the wheel in its cache)"
MMCV_WITH_OPS=1 MAX_JOBS=$jobs pip install -c "$constraints" --no-build-isolation \
    "$distribution==$version"
if ! works; then
    # A wheel that pip had cached was compiled against another torch.
    pip install -c "$constraints" --no-build-isolation --no-cache-dir --force-reinstall --no-deps \
        "$distribution==$version"
    "$python" -c 'import mmcv.ops'
fi
