//! A quick look at a listener's handshakes: its line in /proc/net/tcp (proc(5)).
//!
//! The kernel goes through its whole table of connections for a sock_diag
//! request, which takes milliseconds, and a client that connects meanwhile waits for a
//! second (F78). But a listener is referred to by itself, by each connection in
//! its accept queue, and by each handshake under way (Linux 4.4 or later), and
//! the listeners come first in that file. Handshakes of peers that are gone are
//! among them, so that only a zero is the last word.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::str::from_utf8;

use rustix::fs::fstat;

/// The state of a listener, as the file has it.
const LISTEN: &[u8] = b"0A";

/// Returns the inode of a socket, by which the file names it.
pub(in crate::runtimes) fn inode(socket: &impl AsFd) -> Option<u64> {
    Some(fstat(socket).ok()?.st_ino)
}

/// Returns the number of handshakes with each listener of this network
/// namespace, also of peers that are gone. Those whose line does not say are
/// left out.
pub(in crate::runtimes) fn handshakes(is_v6: bool) -> HashMap<u64, usize> {
    let file = match is_v6 {
        false => "/proc/thread-self/net/tcp",
        true => "/proc/thread-self/net/tcp6",
    };
    let mut found = HashMap::new();
    if let Ok(file) = File::open(file) {
        read_listeners(file, &mut found);
    }
    found
}

/// Reads no further than to the last listener.
fn read_listeners(mut file: impl Read, found: &mut HashMap<u64, usize>) {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        let mut begin = 0;
        while let Some(length) = buffer[begin..filled].iter().position(|b| *b == b'\n') {
            let line = &buffer[begin..begin + length];
            begin += length + 1;
            match parse(line) {
                Some(Line::Header) => {}
                Some(Line::Listener(inode, handshakes)) => {
                    found.extend(handshakes.map(|count| (inode, count)));
                }
                Some(Line::Connection) | None => return,
            }
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
    }
}

enum Line {
    Header,
    /// Its inode, and its handshakes.
    Listener(u64, Option<usize>),
    Connection,
}

fn parse(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|b| *b == b' ').filter(|field| !field.is_empty());
    if fields.next()? == b"sl" {
        return Some(Line::Header);
    }
    if fields.nth(2)? != LISTEN {
        return Some(Line::Connection);
    }
    let queues = from_utf8(fields.next()?).ok()?;
    let inode = from_utf8(fields.nth(4)?).ok()?.parse().ok()?;
    let references: usize = from_utf8(fields.next()?).ok()?.parse().ok()?;
    let (_, accept_queue) = queues.split_once(':')?;
    let accept_queue = usize::from_str_radix(accept_queue, 16).ok()?;
    // The kernel reads the queue first: a handshake that ends in between counts.
    let handshakes = references.checked_sub(1 + accept_queue);
    Some(Line::Listener(inode, handshakes))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                          retrnsmt   uid  timeout inode      \n";

    fn line(state: &str, waiting: u32, inode: u64, references: u32) -> String {
        format!(
            "   0: 0100007F:1F90 00000000:0000 {state} 00000000:{waiting:08X} 00:00000000 \
             00000000     0        0 {inode} {references} 0000000060466a03 100 0 0 10 0    \n"
        )
    }

    fn found(text: &str) -> Option<usize> {
        let mut found = HashMap::new();
        read_listeners(Cursor::new(text.as_bytes()), &mut found);
        found.get(&77).copied()
    }

    #[test]
    fn f78_what_refers_to_a_listener_beside_its_queue_is_a_handshake() {
        let others: String = (100..200).map(|inode| line("0A", 3, inode, 4)).collect();
        for (waiting, references, handshakes) in [
            (0, 1, Some(0)),
            (0, 2, Some(1)),
            (1, 2, Some(0)),
            (300, 302, Some(1)),
            (2, 2, None),
        ] {
            let text = [HEADER, &others, &line("0A", waiting, 77, references)].concat();
            assert_eq!(found(&text), handshakes, "{waiting} {references}");
        }
    }

    #[test]
    fn f78_what_the_file_does_not_say_is_not_known() {
        for text in ["", HEADER, "garbage\n", "no line end"] {
            assert_eq!(found(text), None, "{text:?}");
        }
        // A listener of another network namespace, and connections after it.
        let text = [HEADER, &line("0A", 0, 78, 1), &line("01", 0, 77, 1)].concat();
        assert_eq!(found(&text), None);
        assert_eq!(found(&"x".repeat(10_000)), None);
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::Other.into())
            }
        }
        let mut found = HashMap::new();
        read_listeners(Broken, &mut found);
        assert!(found.is_empty());
    }

    fn f78_a_handshake_under_way_is_seen_at_a_glance(listen: &str) {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let local = listener.local_addr().unwrap();
        let own = inode(&listener).expect("an inode");
        let count = || handshakes(local.is_ipv6()).get(&own).copied();
        let Some(at_first) = count() else {
            return println!("skipped: this system has no /proc/net/tcp");
        };
        assert_eq!(at_first, 0);
        let client = TcpStream::connect(local).unwrap();
        assert_eq!(count(), Some(0), "it is in the queue");
        let served = listener.accept().unwrap();
        assert_eq!(count(), Some(0));
        // A client that never sees the answer to its SYN.
        let domain = socket2::Domain::for_address(local);
        let deaf = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        if deaf
            .attach_filter(&[socket2::SockFilter::new(0x06, 0, 0, 0)])
            .is_err()
        {
            return println!("skipped: a socket filter is not allowed here");
        }
        deaf.set_nonblocking(true).unwrap();
        deaf.connect(&local.into()).unwrap_err();
        assert_eq!(count(), Some(1));
        drop((client, served));
    }

    #[test]
    fn f78_a_handshake_under_way_is_seen_at_a_glance_over_ipv4() {
        f78_a_handshake_under_way_is_seen_at_a_glance("127.0.0.1");
    }

    #[test]
    fn f78_a_handshake_under_way_is_seen_at_a_glance_over_ipv6() {
        match TcpListener::bind("[::1]:0") {
            Ok(_) => f78_a_handshake_under_way_is_seen_at_a_glance("::1"),
            Err(_) => println!("skipped: this machine has no IPv6"),
        }
    }
}
