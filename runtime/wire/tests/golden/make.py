#!/usr/bin/env python3
"""Writes the golden frames beside this file, from FORMAT.md alone: shares no line, table or checksum with the crate.

Run it only when the format gains an example; an example that changes is a break of the format.
"""
import os
import struct


def crc32c(data):
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def write(name, title, parts):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".hex"), "w") as out:
        out.write(f"# {title}\n")
        for data, comment in parts:
            for at in range(0, len(data), 16):
                row = " ".join(f"{byte:02x}" for byte in data[at : at + 16])
                out.write((row.ljust(48) + (f"# {comment}" if at == 0 else "")).rstrip() + "\n")


def element(kind, value):
    data = struct.pack("<HH", kind, len(value)) + value
    return data + b"\0" * (-len(data) % 8)


def full(name, title, kind, priority, source=0, target=0, message=0, correlation=0, deadline=0, elements=(), payload=b""):
    area = b"".join(element(kind_, value) for kind_, value, _ in elements)
    head = b"SYN\xd1" + bytes([1, kind, 0, priority])
    head += struct.pack("<QQQQQ", source, target, message, correlation, deadline)
    head += struct.pack("<IHBBI", len(payload), len(area), 0, 0, crc32c(area + payload))
    head += struct.pack("<I", crc32c(head))
    fields = [(4, "magic"), (4, "version, kind, flags, priority"), (8, "source"), (8, "target"), (8, "message")]
    fields += [(8, "correlation"), (8, "deadline"), (4, "payload length"), (2, "extension length")]
    fields += [(2, "codec, key slot"), (4, "body checksum"), (4, "header checksum")]
    parts, at = [], 0
    for size, comment in fields:
        parts.append((head[at : at + size], comment))
        at += size
    parts += [(element(kind_, value), comment) for kind_, value, comment in elements]
    write(name, title, parts + [(payload, "payload")])


def compact(name, title, kind, flags, grant, seq, extension=None, descriptor=None, payload=b""):
    body = struct.pack("<QQ", *extension) if extension else b""
    body += struct.pack("<IIII", *descriptor) if descriptor else payload
    parts = [(struct.pack("<I", len(body)), "len"), (bytes([kind]), "kind"), (bytes([flags]), "flags")]
    parts += [(struct.pack("<H", grant), "grant"), (struct.pack("<Q", seq), "seq")]
    if extension:
        parts += [(struct.pack("<Q", extension[0]), "correlation"), (struct.pack("<Q", extension[1]), "deadline")]
    for word, comment in zip(descriptor or (), ("region", "slot", "generation", "len of the payload")):
        parts.append((struct.pack("<I", word), comment))
    write(name, title, parts + [(payload, "payload")])


def subject(text):
    return (0x8001, text.encode(), f"subject: {text}")


TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736" "00f067aa0ba902b7" "01")
GREETING = bytes([1, 1, 0, 0]) + struct.pack("<IQQ", 16 << 20, 3, 17) + b"north"

full("full-ping", "A full frame with nothing in it: a ping without payload.", 0x13, 2)
full("full-publish", "A publish to a subject, LOW.", 0x01, 3, source=0x1122334455667788, message=42,
     elements=[subject("orders.new")], payload=b"hello")
full("full-request", "A request with a deadline of 1.5 s, a subject, a trace context and an element that nobody knows.",
     0x02, 0, source=7, target=9, message=2**64 - 1, correlation=0xDEADBEEF, deadline=1_500_000_000,
     elements=[subject("prüfen.straße"), (0x0002, TRACE, "trace context"), (0x7F01, b"abc", "unknown, not critical")],
     payload=bytes(range(256)))
full("full-hello", "The first frame of a link.", 0x10, 1, source=3, message=1, payload=GREETING)
full("full-goodbye", "The last frame of a link.", 0x15, 0, source=3, message=2, payload=struct.pack("<H", 4) + b"going down")
full("full-interest", "Interest in a pattern.", 0x11, 1, source=3, message=3, elements=[subject("orders.>")])

compact("compact-publish", "A publish, BACKGROUND, without payload.", 0x01, 5 << 2, 0, 0)
compact("compact-request", "A request, CRITICAL, with correlation and deadline.", 0x02, 1, 0x0102, 2**63 + 1,
        extension=(5, 123456789012345), payload=b"abc")
compact("compact-large-reply", "A reply, NORMAL, whose payload lies in slot 4 of region 2.", 0x03, 0b1011, 513, 77,
        extension=(6, 0), descriptor=(2, 4, 9, 1 << 20))
compact("compact-release", "Slot 4 of region 2 is given back, HIGH.", 0x06, 0b0110, 513, 78, descriptor=(2, 4, 9, 1 << 20))
