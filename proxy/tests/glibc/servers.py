#!/usr/bin/env python3
"""Two name servers on 127.0.0.1 and 127.0.0.2, port 53, UDP and TCP, that fail as they are told.

Usage: servers.py FIRST SECOND, each one of the words in `reply`. The first has the addresses .1, the second .2.
"""
import asyncio
import struct
import sys


def reply(word, query, number, tcp):
    """(seconds to wait, bytes) of an answer; None says nothing."""
    at = 12
    while query[at]:
        at += 1 + query[at]
    question, kind = query[12:at + 5], query[at + 2]
    def message(code=0, good=True, ident=query[:2], asked=question, cut=False):
        records = b""
        if good and not cut and kind in (1, 28):
            data = bytes([192, 175, 48, number]) if kind == 1 else bytes.fromhex("2620004f8000") + bytes(9) + bytes([number])
            records = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
        flags = (0x83 if cut else 0x81, 0x80 | code)
        return ident + bytes(flags) + struct.pack(">HHHH", 1, 1 if records else 0, 0, 0) + asked + records
    other_id = bytes([query[0], query[1] ^ 1])
    other_question = question[:1] + bytes([question[1] ^ 1]) + question[2:]
    return {
        "good": lambda: (0, message()),
        "SERVFAIL": lambda: (0, message(2, False)),
        "REFUSED": lambda: (0, message(5, False)),
        "NOTIMP": lambda: (0, message(4, False)),
        "NXDOMAIN": lambda: (0, message(3, False)),
        "silence": lambda: None,
        "garbage": lambda: (0, query[:2] + b"\x81\x80\x00\x01\x00\x09\x00\x09\x00\x09\xff\xff\xff"),
        "truncation": lambda: (0, message(cut=not tcp)),
        "wrong-id": lambda: (0, message(ident=other_id)),
        "wrong-question": lambda: (0, message(asked=other_question)),
        "late": lambda: (1.5, message()),
    }[word]()


class Udp(asyncio.DatagramProtocol):
    def __init__(self, word, number):
        self.word, self.number = word, number

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, client):
        answer = reply(self.word, query, self.number, False)
        if answer:
            asyncio.get_running_loop().call_later(answer[0], self.transport.sendto, answer[1], client)


async def main():
    loop = asyncio.get_running_loop()
    for number, word in enumerate(sys.argv[1:3], 1):
        at = f"127.0.0.{number}"
        await loop.create_datagram_endpoint(lambda word=word, number=number: Udp(word, number), (at, 53))

        async def tcp(reader, writer, word=word, number=number):
            # glibc asks for both families over one connection.
            while head := await reader.read(2):
                answer = reply(word, await reader.readexactly(struct.unpack(">H", head)[0]), number, True)
                if answer:
                    await asyncio.sleep(answer[0])
                    writer.write(struct.pack(">H", len(answer[1])) + answer[1])
                    await writer.drain()
            writer.close()
        await asyncio.start_server(tcp, at, 53)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
