#!/bin/sh
# Run the tests of QOS_TESTS on QOS_DEVICE and write qos.xml, qos.json and qos.html.
set -eu
: "${QOS_TESTS:=tests/qos}" "${QOS_DEVICE:=cuda}"
python3 -m venv .qos-venv
.qos-venv/bin/pip install . 'pytest-xsched[html]'
# QOS_TESTS may be several words.
# shellcheck disable=SC2086
.qos-venv/bin/pytest -p xsched $QOS_TESTS \
    --xsched-device="$QOS_DEVICE" --xsched-require-device="$QOS_DEVICE" \
    --junit-xml=qos.xml --xsched-json=qos.json --xsched-html=qos.html
