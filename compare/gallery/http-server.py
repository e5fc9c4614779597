"""Python's http.server, threaded, stopped by shutdown() as its documentation has it."""

import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"x" * (12 << 20) if self.path == "/large" else b"hello\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


host, port = sys.argv[1].rsplit(":", 1)
# Before any thread is started, so that none of them takes the signal.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
server = ThreadingHTTPServer((host, int(port)), Handler)
threading.Thread(target=server.serve_forever).start()
signal.sigwait([signal.SIGTERM])
server.shutdown()
server.server_close()
