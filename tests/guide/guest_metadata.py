"""A metadata service for one guest: ``guest_metadata.py FOLDER`` serves its files on port 80."""

import functools
import http.server
import sys

handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
http.server.ThreadingHTTPServer(("169.254.169.254", 80), handler).serve_forever()
