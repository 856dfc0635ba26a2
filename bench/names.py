#!/usr/bin/env python3
"""What a tunnel by name costs beside one by address: instructions of the proxy, counted by valgrind.

Usage: names.py PATH/egressway-proxy [TUNNELS]. The name is in the cache, as it is for all tunnels but the first. Each tunnel
is a connection of its own that ends once it stands. What the start costs is taken off by counting two numbers of tunnels.
"""
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

PROXY = sys.argv[1]
TUNNELS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
POLICY = """apiVersion: egressway.dev/v1alpha1
kind: EgressPolicy
metadata: {name: all, namespace: a}
spec:
  rules:
  - {name: names, hosts: [a.example], ports: [{port: PORT}]}
  - {name: nets, cidrs: [127.0.0.0/8], ports: [{port: PORT}]}
"""


def name_server():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve():
        while True:
            query, client = server.recvfrom(1500)
            end = query.index(0, 12) + 5
            found = query[end - 3] == 1
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, 4) + bytes([127, 0, 0, 1]) if found else b""
            counts = struct.pack(">HHHH", 1, 1 if found else 0, 0, 0)
            server.sendto(query[:2] + b"\x81\x80" + counts + query[12:end] + record, client)
    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def origin():
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def serve():
        while True:
            listener.accept()[0].close()
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def tunnel(proxy, target):
    with socket.create_connection(("127.0.0.1", proxy)) as client:
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while more := client.recv(4096):
            answer += more
        assert answer.startswith(b"HTTP/1.1 200"), answer


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def count(host, tunnels, dns, port):
    with tempfile.TemporaryDirectory() as work:
        policy = os.path.join(work, "policy.yaml")
        with open(policy, "w") as file:
            file.write(POLICY.replace("PORT", str(port)))
        proxy = free_port()
        command = ["taskset", "-c", "0", "valgrind", "--tool=callgrind", f"--callgrind-out-file={work}/out", PROXY,
                   "--policy", policy, "--listen", f"127.0.0.1:{proxy}", "--admin", "127.0.0.1:0",
                   "--resolver", f"127.0.0.1:{dns}", "--insecure-allow", "127.0.0.0/8", "--log-file", "/dev/null"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said = []
        threading.Thread(target=lambda: said.extend(process.stderr), daemon=True).start()
        while not any("enforces" in line for line in said):
            assert process.poll() is None, said
            time.sleep(0.05)
        for _ in range(tunnels):
            tunnel(proxy, f"{host}:{port}")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        time.sleep(0.1)
        return int(re.search(r"Collected : (\d+)", "".join(said)).group(1))


def main():
    dns, port = name_server(), origin()
    costs = {}
    for what, host in [("address", "127.0.0.1"), ("name", "a.example")]:
        few, many = (count(host, tunnels, dns, port) for tunnels in (TUNNELS // 10, TUNNELS + TUNNELS // 10))
        costs[what] = (many - few) / TUNNELS
        print(f"by {what}: {costs[what]:,.0f} instructions a tunnel", flush=True)
    print(f"name / address: {costs['name'] / costs['address']:.3f}")


main()
