"""An ASGI application: a line for GET, the body for POST, much for /large."""


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await answer(scope, receive, send)


async def lifespan(receive, send):
    while True:
        event = (await receive())["type"]
        await send({"type": event + ".complete"})
        if event == "lifespan.shutdown":
            return


async def answer(scope, receive, send):
    sent, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        sent += event.get("body", b"")
        more = event.get("more_body", False)
    body = b"x" * (12 << 20) if scope["path"] == "/large" else sent or b"hello\n"
    length = str(len(body)).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
