"""glibc's resolver: asks for each name's addresses, one after the other."""

import socket
import sys

for name in sys.argv[1:]:
    try:
        print(socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM))
    except socket.gaierror as error:
        print(error)
