// Node's http: close() on SIGTERM, as its documentation has it.
import http from 'node:http';

const large = Buffer.alloc(12 << 20, 'x');

const server = http.createServer((request, response) => {
  const sent = [];
  request.on('data', (piece) => sent.push(piece));
  request.on('end', () => {
    const body = sent.length ? Buffer.concat(sent) : 'hello\n';
    response.end(request.url === '/large' ? large : body);
  });
});

const [host, port] = process.argv[2].split(':');
server.listen(Number(port), host);
process.on('SIGTERM', () => server.close());
