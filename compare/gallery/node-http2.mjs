// Node's http2: close() of the server and of each session on SIGTERM.
import http2 from 'node:http2';

const large = Buffer.alloc(12 << 20, 'x');
const sessions = new Set();

const server = http2.createServer((request, response) => {
  const sent = [];
  request.on('data', (piece) => sent.push(piece));
  request.on('end', () => {
    const body = sent.length ? Buffer.concat(sent) : 'hello\n';
    response.end(request.url === '/large' ? large : body);
  });
});
server.on('session', (session) => {
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
});

const [host, port] = process.argv[2].split(':');
server.listen(Number(port), host);
process.on('SIGTERM', () => {
  server.close();
  sessions.forEach((session) => session.close());
});
