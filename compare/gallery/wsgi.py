"""A WSGI application: a line for GET, the body for POST, much for /large."""


def app(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    sent = environ["wsgi.input"].read(length) if length else b"hello\n"
    body = b"x" * (12 << 20) if environ["PATH_INFO"] == "/large" else sent
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
