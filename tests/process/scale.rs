//! Many connections at once; `LAMEDUCK_CONNECTIONS` says how many.

use std::io::Write;
use std::thread;

use rustix::process::Signal;

use crate::support::{Echo, exchange, number, raise_descriptor_limit, rest};

/// A message is on its way to each that is busy, in whatever buffer.
pub(crate) fn s4_half_idle_half_busy_adds_up(runtime: &str) {
    raise_descriptor_limit();
    let count = number("LAMEDUCK_CONNECTIONS", 400);
    let server = Echo::start(runtime, &[]);
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = server.connect();
        exchange(&mut client, b"once");
        clients.push(client);
    }
    let message = vec![b'm'; 1024];
    let (idle, busy) = clients.split_at_mut(count / 2);
    for client in busy.iter_mut() {
        client.write_all(&message).expect("send");
    }
    server.signal(Signal::TERM);
    thread::scope(|scope| {
        // Both at once: neither is to wait for the other.
        scope.spawn(|| idle.iter().for_each(|client| assert_eq!(rest(client), b"")));
        busy.iter()
            .for_each(|client| assert_eq!(rest(client), message));
    });
    drop(clients);
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    let sums = format!("{count} accepted: 0 finished, {count} drained, 0 closed by the peer");
    assert!(log.contains(&sums), "no `{sums}` in:\n{log}");
    let last = log
        .lines()
        .skip_while(|line| !line.contains("stopped clean"));
    println!("{}", last.collect::<Vec<_>>().join("\n"));
}
