# shellcheck shell=bash
# lab build, images, load: binaries into OCI archives into the nodes. No registry is involved: what is not loaded
# cannot be pulled, so pods use imagePullPolicy Never or IfNotPresent.

build() {
  install
  "$LAB/build.sh" hyper coredns helm lab-tool pause >/dev/null
  images
}

# images [NAME=BINARY ...]: the lab's own images, and REGISTRY/NAME:dev for each given binary.
images() {
  local pair
  mkdir -p "$IMAGES"
  for pair in pause coredns lab-tool; do image "$pair" 1 "$CACHE/$pair"; done
  for pair in "$@"; do
    [[ $pair == ?*=?* ]] || die "images: wants NAME=BINARY, not $pair"
    [ -x "${pair#*=}" ] || die "images: ${pair#*=} is not an executable file"
    is_static "${pair#*=}" || die "images: ${pair#*=} is not static, it could not run in an empty image"
    image "${pair%%=*}" dev "${pair#*=}"
  done
}

# image NAME TAG BINARY: made again only when the binary is another one.
image() {
  local archive=$IMAGES/$1.tar sum
  sum=$(sha256sum <"$3")
  [ -e "$archive" ] && [ "$(cat "$IMAGES/$1.sum" 2>/dev/null)" = "$sum" ] && return 0
  python3 "$LAB/mkimage.py" "$archive" "$REGISTRY/$1:$2" "$(readlink -f "$3")"
  echo "$sum" >"$IMAGES/$1.sum"
  say "made the image $REGISTRY/$1:$2"
}

# An executable that names a program interpreter needs a dynamic loader.
is_static() { ! readelf -lW "$1" 2>/dev/null | grep -q INTERP; }

# load: import what is new on every running node; an imported tag replaces the one before. Running pods keep theirs.
load() {
  local node into
  need_up
  for node in $(node_names); do
    process_of "node-$node" >/dev/null || { say "$node is not running, it loads the images when it starts"; continue; }
    enter "$node"
    "${into[@]}" "$LAB/import-images.sh" "$node"
  done
}
