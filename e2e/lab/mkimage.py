#!/usr/bin/env python3
"""mkimage.py OUT.tar REFERENCE BINARY: an OCI archive FROM scratch that holds one static binary and runs it.

Python's standard library only, no container engine. The same binary gives the same archive, byte for byte. It does not
follow links, add certificates or an /etc/passwd: what the binary needs at run time must be in the binary or mounted.
"""
import hashlib
import io
import json
import os
import sys
import tarfile

USER = "65532:65532"  # numeric, so that runAsNonRoot can be checked without a passwd file


def entry(name, data=b"", mode=0o644, directory=False):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    if directory:
        info.type = tarfile.DIRTYPE
    return info, io.BytesIO(data)


def archive(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, data)
    return buffer.getvalue()


def descriptor(kind, data):
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(data), "size": len(data)}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode(value):
    return json.dumps(value, sort_keys=True).encode()


def main(out, reference, binary):
    name = reference.rsplit("/", 1)[1].split(":")[0]
    with open(binary, "rb") as file:
        program = file.read()
    layer = archive([
        entry("etc", mode=0o755, directory=True),
        entry("tmp", mode=0o1777, directory=True),
        entry(name, program, mode=0o755),
    ])
    config = encode({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/" + name], "User": USER, "Env": ["PATH=/"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created_by": "mkimage.py"}],
    })
    manifest = encode({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer)],
    })
    top = descriptor("manifest.v1+json", manifest)
    top["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1],
    }
    blobs = [entry("blobs/sha256/" + digest(blob)[7:], blob) for blob in (layer, config, manifest)]
    data = archive([
        entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        *blobs,
        entry("index.json", encode({"schemaVersion": 2, "manifests": [top]})),
    ])
    with open(out + ".part", "wb") as file:
        file.write(data)
    os.rename(out + ".part", out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
