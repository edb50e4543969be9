"""A time server whose clock is SECONDS off and is set by nobody: ntp.py ADDRESS SECONDS."""

import socket
import struct
import sys
import time

EPOCH = 2_208_988_800
"""From 1900, where NTP begins, to 1970."""


def main() -> None:
    address, seconds = sys.argv[1], float(sys.argv[2])
    zero = time.time() + seconds - time.monotonic()

    def now() -> int:
        return int((zero + time.monotonic() + EPOCH) * (1 << 32))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 123))
        while True:
            question, peer = server.recvfrom(512)
            if len(question) < 48:
                continue
            arrived = now()
            (sent,) = struct.unpack("!Q", question[40:48])
            # no leap, the question's version, mode server; stratum 2; delay and dispersion 1/4096
            first = (question[0] & 0x38) | 4
            head = struct.pack("!BBbb3I", first, 2, 6, -20, 16, 16, 0x7F000001)
            server.sendto(head + struct.pack("!4Q", arrived, sent, arrived, now()), peer)


if __name__ == "__main__":
    main()
