#!/usr/bin/env python3
"""second-opinion FREEZE SIGNAL COMMAND...: the scenarios frozen, half-head, idle and silent
of `lameduck check`, written again in the plainest way: blocking sockets, HTTP/1.1,
one GET a connection. FREEZE is how long the server is frozen, in seconds. Says how many clients had a whole answer, and how the others
ended. Shares no line with the tool, so that the one can confirm the other."""

import os
import signal
import socket
import subprocess
import sys
import time

CLIENTS = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


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
    for _ in range(CLIENTS):
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
        for _ in range(CLIENTS):
            new.append(connect(port))
    except OSError:
        pass  # The accept queue is full.
    for client in old + new:
        client.sendall(REQUEST)
    time.sleep(float(sys.argv[1]))
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
    for client in clients:
        found = outcome(client)
        counted[found] = counted.get(found, 0) + 1
    return counted


def main():
    stop = getattr(signal, "SIG" + sys.argv[2])
    for scenario in [frozen, half_head, idle, silent]:
        server, port = start(sys.argv[3:])
        try:
            found = scenario(server, port, stop)
        finally:
            try:
                os.killpg(server.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            server.wait()
        print(f"{scenario.__name__}: {found}")


main()
