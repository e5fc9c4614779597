// An HTTP server of Node, with its own graceful end: `close` waits for requests,
// and closes connections that are idle.
import { createServer } from "node:http";

const [host, port] = process.argv[2].split(":");
const large = Buffer.alloc(4 * 1024 * 1024, "x");

const server = createServer((request, response) => {
    response.end(request.url === "/large" ? large : "hello\n");
});

for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => {
        server.close();
    });
}

server.listen(Number(port), host);
