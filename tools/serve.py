"""Serve the built book on this machine only: `python -m tools.serve [PORT]` (8000). Ctrl-C ends
it."""

import errno
import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BOOK = Path(__file__).resolve().parent.parent / "_book"


def serve(port, folder=BOOK):
    """A server of `folder` at a port of 127.0.0.1, not yet running. Raises ValueError for a port
    that is none or is taken."""
    if not 1 <= port <= 65_535:
        raise ValueError(f"a port is a whole number from 1 to 65535, not {port}")
    try:
        return ThreadingHTTPServer(
            ("127.0.0.1", port), functools.partial(SimpleHTTPRequestHandler, directory=folder)
        )
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise ValueError(
            f"port {port} is taken or not allowed: choose another, for example make serve"
            f" PORT={port + 80}"
        ) from None


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        server = serve(int(arguments[0]) if arguments else 8000)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the book is at http://127.0.0.1:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
