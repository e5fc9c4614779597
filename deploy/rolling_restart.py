#!/usr/bin/env python3
"""Restarts three servers behind a balancer, one after the other, under load.

    cargo build --release --example http
    deploy/rolling_restart.py haproxy
    deploy/rolling_restart.py nginx

Exit status: 0 when no request has failed and every server has stopped clean.
"""

import argparse
import http.client
import os
import pathlib
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SERVER = "target/release/examples/http --listen {listen} --lame-duck 2s"
PUBLIC = 8080
PORTS = [8081, 8082, 8083]
READY_WITHIN = 20
STARTED = []


def listening():
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    return bound


class Server:
    """One of the three: with a listening socket that outlives it, if so."""

    def __init__(self, command, holds_socket, log):
        self.command, self.log = command, log
        self.socket = listening()
        self.port = self.socket.getsockname()[1]
        self.holds_socket = holds_socket
        if holds_socket:
            self.socket.listen(4096)
        else:
            self.socket.close()

    def start(self):
        arguments = shlex.split(self.command.format(listen=f"127.0.0.1:{self.port}"))
        if self.holds_socket:
            # As a supervisor does it: descriptor 3, for this very process.
            passes = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&%d' % self.socket.fileno()
            arguments = ["sh", "-c", passes, "sh", *arguments]
            descriptors = [self.socket.fileno()]
        else:
            descriptors = []
        self.process = subprocess.Popen(
            arguments, pass_fds=descriptors, stdout=self.log, stderr=self.log
        )
        STARTED.append(self.process)
        wait_for(lambda: status(self.port, "/readyz") == 200, f"the server on {self.port}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def status(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    except OSError:
        return None
    finally:
        connection.close()


def wait_for(condition, what):
    deadline = time.monotonic() + READY_WITHIN
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what} is not ready after {READY_WITHIN} s")
        time.sleep(0.01)


class Load:
    """Clients that post on connections that are kept alive, and never retry."""

    def __init__(self, port, clients):
        self.port = port
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.requests, self.failures = 0, []
        self.threads = [threading.Thread(target=self.client, args=(n,)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self, number):
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stopping.is_set():
            body = chance.randbytes(chance.randrange(1, 2000))
            failure = None
            try:
                connection.request("POST", "/", body)
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200:
                    failure = f"status {response.status}"
                elif answer != body:
                    failure = "another body"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
                connection.close()
            with self.lock:
                self.requests += 1
                if failure:
                    self.failures.append(failure)
            self.stopping.wait(chance.random() * 0.02)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Balancer:
    def __init__(self, kind, folder, servers, log):
        self.kind = kind
        bound = listening()
        self.port = bound.getsockname()[1]
        bound.close()
        name = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[kind]
        text = (HERE / name).read_text()
        for written, actual in zip([PUBLIC, *PORTS], [self.port, *(s.port for s in servers)]):
            text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{actual}")
        path = pathlib.Path(folder) / name
        path.write_text(text)
        command = {
            "haproxy": ["haproxy", "-db", "-f", str(path)],
            "nginx": ["nginx", "-p", folder, "-c", str(path), "-g", "daemon off;"],
        }[kind]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        STARTED.append(self.process)
        wait_for(self.serves_all, kind)

    def serves_all(self):
        """Whether the balancer knows that all servers are ready."""
        if self.kind == "nginx":
            return status(self.port, "/readyz") == 200
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/balancer;csv")
            rows = connection.getresponse().read().decode().splitlines()
        except OSError:
            return False
        finally:
            connection.close()
        servers = [row.split(",") for row in rows if row.startswith("servers,")]
        servers = [row for row in servers if row[1] != "BACKEND"]
        return len(servers) == len(PORTS) and all(row[17] == "UP" for row in servers)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("balancer", choices=["haproxy", "nginx"])
    parser.add_argument("--server", default=SERVER, help=f"default: {SERVER}")
    parser.add_argument("--restarts", type=int, default=12)
    parser.add_argument("--clients", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+") as log:
        try:
            run(arguments, folder, log)
        except SystemExit:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            errors = pathlib.Path(folder) / "error.log"
            if errors.exists():
                sys.stderr.write(errors.read_text()[-4000:])
            raise
        finally:
            for process in STARTED:
                process.kill()


def run(arguments, folder, log):
    holds_sockets = arguments.balancer == "nginx"
    servers = [Server(arguments.server, holds_sockets, log) for _ in PORTS]
    for server in servers:
        server.start()
    balancer = Balancer(arguments.balancer, folder, servers, log)
    load = Load(balancer.port, arguments.clients)
    statuses = []
    try:
        for restart in range(arguments.restarts):
            server = servers[restart % len(servers)]
            statuses.append(server.stop())
            server.start()
            wait_for(balancer.serves_all, arguments.balancer)
    finally:
        load.stop()
    balancer.stop()
    statuses += [server.stop() for server in servers]
    print(
        f"{arguments.balancer}: {arguments.restarts} restarts, {load.requests} requests, "
        f"{len(load.failures)} failed; exit statuses: {sorted(set(statuses))}"
    )
    for failure in sorted(set(load.failures)):
        print(f"  {load.failures.count(failure)} x {failure}")
    if load.failures or any(statuses):
        sys.exit(1)


if __name__ == "__main__":
    os.chdir(HERE.parent)
    main()
