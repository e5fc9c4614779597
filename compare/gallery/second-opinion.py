#!/usr/bin/env python3
"""The scenarios frozen, half-head, idle and silent of `lameduck check`, written again in the
plainest way: blocking sockets, HTTP/1.1, one request after the first GET on each
connection. Says how many clients had a whole answer, and how the others ended, once for
each round. Shares no line with the tool, so that the one can confirm the other."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"a body of a client"
POST = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
)


def start(command):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        word.replace("{addr}", f"127.0.0.1:{port}")
        .replace("{host}", "127.0.0.1")
        .replace("{port}", str(port))
        for word in command
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(words, start_new_session=True, **quiet)
    for _ in range(400):
        try:
            client = connect(port)
            client.sendall(REQUEST)
            if outcome(client) == "answer":
                return server, port
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit("the server does not answer")


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=3)
    return client


def outcome(client):
    """Reads one answer, or the end."""
    received = b""
    try:
        while True:
            piece = client.recv(65536)
            if not piece:
                whole = is_whole(received, True)
                return "answer" if whole else "end" if not received else "part"
            received += piece
            if is_whole(received, False):
                return "answer"
    except ConnectionResetError:
        return "reset"
    except socket.timeout:
        return "nothing"


def is_whole(received, is_end):
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
        if line.startswith(b"transfer-encoding:"):
            return body.endswith(b"0\r\n\r\n")
    return is_end


def served(port):
    clients = []
    for _ in range(options.clients):
        client = connect(port)
        client.sendall(REQUEST)
        if outcome(client) == "answer":
            client.setblocking(False)
            try:
                closed = client.recv(1) == b""
            except BlockingIOError:
                closed = False
            client.settimeout(3)
            if not closed:
                clients.append(client)
    return clients


def frozen(server, port, stop):
    old = served(port)
    os.killpg(server.pid, signal.SIGSTOP)
    time.sleep(0.1)
    new = []
    try:
        for _ in range(options.clients):
            new.append(connect(port))
    except OSError:
        pass  # The accept queue is full.
    for client in old + new:
        client.sendall(POST if options.post else REQUEST)
    time.sleep(options.freeze)
    server.send_signal(stop)
    os.killpg(server.pid, signal.SIGCONT)
    return {"reused": count(old), "in the queue": count(new)}


def half_head(server, port, stop):
    clients = served(port)
    for client in clients:
        client.sendall(REQUEST[:5])
    time.sleep(0.1)
    server.send_signal(stop)
    time.sleep(0.1)
    for client in clients:
        try:
            client.sendall(REQUEST[5:])
        except OSError:
            pass
    return {"half a head": count(clients)}


def idle(server, port, stop):
    clients = served(port)
    time.sleep(0.1)
    server.send_signal(stop)
    return {"idle": count(clients)}


def silent(server, port, stop):
    clients = [connect(port) for _ in range(4)]
    time.sleep(0.3)
    server.send_signal(stop)
    return {"silent": count(clients)}


def count(clients):
    counted = {}
    until = time.monotonic() + options.patience
    for client in clients:
        client.settimeout(max(until - time.monotonic(), 0.01))
        found = outcome(client)
        counted[found] = counted.get(found, 0) + 1
    return counted


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20, help="of each kind")
    parser.add_argument("--freeze", type=float, default=1.1, help="how long, in seconds")
    parser.add_argument("--patience", type=float, default=35, help="the longest wait for all")
    parser.add_argument("--post", action="store_true", help="send POST to the frozen server")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("--signal", default="TERM")
    parser.add_argument("command", nargs="+", help="the server, after --, with {addr}")
    return parser.parse_args()


def main():
    stop = getattr(signal, "SIG" + options.signal)
    chosen = options.scenario or list(SCENARIOS)
    for name in [name for name in chosen for _ in range(options.rounds)]:
        server, port = start(options.command)
        try:
            found = SCENARIOS[name](server, port, stop)
        finally:
            try:
                os.killpg(server.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            server.wait()
        print(f"{name}: {found}", flush=True)


SCENARIOS = {"frozen": frozen, "half-head": half_head, "idle": idle, "silent": silent}
options = parse()
main()
