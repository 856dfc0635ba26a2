# Bare `just` lists the recipes. README.md has the two commands that need no just.

_default:
    @just --list --unsorted

# everything that must pass before a change lands, cluster included (root)
check:
    e2e/check.sh

# the same without the cluster
check-fast:
    e2e/check.sh --fast

# the main job on a cluster of this machine; `just demo --keep` leaves it up
demo *args:
    e2e/demo.sh {{args}}

# format everything
fmt:
    cargo fmt && (cd core/fuzz && cargo fmt) && cd proxy/fuzz && cargo fmt

# cargo test, with cargo's own arguments
test *args:
    cargo test --locked {{args}}

# rewrite what is generated: CRD files, snapshots, the manual of the chart
gen:
    UPDATE_GOLDEN=1 cargo test --locked -p egressway-crds
    INSTA_UPDATE=always cargo test --locked -p egressway-operator
    python3 charts/egressway/tests/values_doc.py > docs/reference/chart.md

# bring the lab up / take it down / anything else the lab does
lab *args:
    e2e/lab/lab {{args}}

# the working tree into a running lab
install *args:
    e2e/install.sh {{args}}

# end-to-end cases whose names contain one of the words
e2e *words:
    KUBECONFIG=$(e2e/lab/lab kubeconfig) cargo run --locked -p egressway-e2e -- --lab e2e/lab/lab --kubectl "${EGRESSWAY_LAB:-/var/tmp/egressway-lab}/bin/kubectl" {{words}}

# the proxy beside Envoy, HAProxy, Squid, tinyproxy and a bare relay on this machine; `just bench --quick`
bench *args:
    bench/run.sh {{args}}

# fuzz one target of `core` or `proxy` for a while (nightly toolchain and cargo-fuzz): `just fuzz proxy head`
fuzz crate target seconds="60":
    cd {{crate}}/fuzz && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}
