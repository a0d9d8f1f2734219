#!/usr/bin/env bash
# What failback_disks.sh claims of a vault, at a second site without one. Usage: second_site_failback.sh BUILD_DIRECTORY
exec bash "$(dirname "$0")/failback_disks.sh" "${1:?build directory}" second-site
