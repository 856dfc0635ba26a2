# shellcheck shell=bash
selftest() { die "not yet"; }
