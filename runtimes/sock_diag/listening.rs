//! Listening sockets: how long their queue can be, and which handshakes with
//! them are under way.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use super::message::{self, Inet, Question};
use super::{ANSWERS, NO, ask_by_interface, note_error, open};
use crate::runtimes::proc_net;
use crate::sync::plain::Ordering;

/// A listening TCP socket, as the kernel's table knows it.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtimes) struct Listening {
    local: SocketAddr,
    /// By it it is told from a socket of another network namespace.
    cookie: u64,
    inode: Option<u64>,
}

impl Listening {
    pub(in crate::runtimes) fn new(socket: &impl AsFd, local: SocketAddr) -> Option<Listening> {
        let cookie = SockRef::from(socket).cookie().ok()?;
        let inode = proc_net::inode(socket);
        Some(Listening {
            local,
            cookie,
            inode,
        })
    }
}

/// Returns the most connections that the accept queue of a listening socket can
/// hold, no matter who set it. `None`: the system does not say.
pub(in crate::runtimes) fn queue_limit(socket: &impl AsFd) -> Option<u64> {
    if ANSWERS.load(Ordering::Relaxed) == NO {
        return None;
    }
    let backlog = match SockRef::from(socket).local_addr().ok()?.as_socket() {
        Some(local) => tcp_backlog(socket, local)?,
        None => unix_backlog(socket)?,
    };
    // `listen(2)` holds one more than it is told.
    Some(u64::from(backlog) + 1)
}

fn tcp_backlog(socket: &impl AsFd, local: SocketAddr) -> Option<u32> {
    let own = Listening::new(socket, local)?;
    let nobody = match local {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let mut buffer = [0; 1024];
    let answer = ask_by_interface(socket, Question::one(local, nobody), &mut buffer);
    let found = answer.and_then(Inet::parse);
    if let Some(found) = found.filter(|found| found.cookie == own.cookie) {
        return Some(found.write_queue);
    }
    // Of several sockets at one address, the kernel gives one.
    let mut backlog = None;
    walk(message::LISTEN, local, |found| {
        if found.cookie == own.cookie {
            backlog = Some(found.write_queue);
        }
    })
    .ok()?;
    backlog
}

fn unix_backlog(socket: &impl AsFd) -> Option<u32> {
    let inode = u32::try_from(proc_net::inode(socket)?).ok()?;
    let netlink = open().ok()?;
    send(&netlink, &message::unix_queue(inode), SendFlags::empty()).ok()?;
    let mut buffer = [0; 1024];
    let (length, _) = recv(&netlink, &mut buffer, RecvFlags::DONTWAIT).ok()?;
    let answer = buffer
        .get(..length)
        .filter(|answer| message::is_answer(answer))?;
    let (begin, kind) = (message::UNIX_ATTRIBUTES, message::UNIX_DIAG_RQLEN);
    let lengths = message::attribute(answer, begin, kind)?;
    Some(u32::from_ne_bytes(lengths.get(4..8)?.try_into().ok()?))
}

/// Returns for each listener how many handshakes are under way with it: a SYN
/// was answered, and the answer's acknowledgement is awaited. A peer that has
/// not sent it when the answer is sent again, after a second, is taken for gone.
/// `None`: not known, or not all are in the table.
///
/// The table is walked once for each family, whatever the number of listeners
/// ([F68](crate::docs::faults#f68)), and only where a quick look does not show
/// that there are none ([F78](crate::docs::faults#f78)).
pub(in crate::runtimes) fn handshakes(listeners: &[Option<Listening>]) -> Vec<Option<usize>> {
    let mut counts = vec![None; listeners.len()];
    let cookies = SynCookies::of_system();
    if ANSWERS.load(Ordering::Relaxed) == NO || cookies == SynCookies::Always {
        return counts;
    }
    for is_v6 in [false, true] {
        let of_family = listeners
            .iter()
            .enumerate()
            .filter_map(|(index, listener)| {
                let listener = (*listener)?;
                (listener.local.is_ipv6() == is_v6).then_some((index, listener))
            });
        let mut of_family: Vec<_> = of_family.collect();
        if of_family.is_empty() {
            continue;
        }
        let at_a_glance = proc_net::handshakes(is_v6);
        of_family.retain(|(index, listener)| {
            let inode = listener.inode.as_ref();
            let is_quiet = inode.and_then(|inode| at_a_glance.get(inode)) == Some(&0);
            if is_quiet {
                counts[*index] = Some(0);
            }
            !is_quiet
        });
        let Some((_, first)) = of_family.first() else {
            continue;
        };
        match look(first.local, cookies, &of_family) {
            Ok(found) => found.for_each(|(index, count)| counts[index] = count),
            Err(error) => note_error(error),
        }
    }
    counts
}

/// What one walk has found of a listener.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    backlog: Option<u32>,
    under_way: usize,
    given_up: usize,
}

fn look(
    any: SocketAddr,
    cookies: SynCookies,
    listeners: &[(usize, Listening)],
) -> Result<impl Iterator<Item = (usize, Option<usize>)>, Errno> {
    let mut by_cookie = HashMap::new();
    let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
    for (at, (_, listener)) in listeners.iter().enumerate() {
        by_cookie.insert(listener.cookie, at);
        by_port.entry(listener.local.port()).or_default().push(at);
    }
    let mut seen = vec![Seen::default(); listeners.len()];
    walk(
        message::LISTEN | message::SYN_RECEIVED,
        any,
        |found| match found.state {
            message::STATE_LISTEN => {
                if let Some(at) = by_cookie.get(&found.cookie) {
                    seen[*at].backlog = Some(found.write_queue);
                }
            }
            message::STATE_SYN_RECEIVED => {
                for at in by_port.get(&found.port).into_iter().flatten() {
                    if covers(listeners[*at].1.local.ip(), found.local) {
                        seen[*at].under_way += usize::from(found.retransmits == 0);
                        seen[*at].given_up += usize::from(found.retransmits != 0);
                    }
                }
            }
            _ => {}
        },
    )?;
    let seen = seen.into_iter().map(move |seen| {
        // One that is not in the table is not of this network namespace (F57),
        // and a full table makes the kernel go on without one (F56).
        let backlog = seen.backlog? as usize;
        let is_full = seen.under_way + seen.given_up >= backlog.max(1);
        (cookies == SynCookies::Never || !is_full).then_some(seen.under_way)
    });
    let indices: Vec<_> = listeners.iter().map(|(index, _)| *index).collect();
    Ok(indices.into_iter().zip(seen))
}

fn covers(listener: IpAddr, local: [u8; 16]) -> bool {
    listener.is_unspecified() || local == message::octets(listener)
}

/// Calls `each` for all sockets in some states.
fn walk(states: u32, any: SocketAddr, mut each: impl FnMut(Inet)) -> Result<(), Errno> {
    let netlink = open()?;
    let question = Question::all(states, any);
    send(&netlink, &question.encode(), SendFlags::empty())?;
    let mut answers = [0; 16 * 1024];
    loop {
        // Each part is made by the call that fetches it.
        let (length, _) = recv(&netlink, &mut answers, RecvFlags::DONTWAIT)?;
        let part = answers.get(..length).unwrap_or_default();
        match message::read_part(part, &mut each) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None => return Err(Errno::OPNOTSUPP),
        }
    }
}

/// Whether the kernel keeps handshakes in no table, but in the sequence number
/// of its answer (tcp(7), `tcp_syncookies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SynCookies {
    Never,
    WhenFull,
    Always,
}

impl SynCookies {
    fn of_system() -> SynCookies {
        match fs::read("/proc/sys/net/ipv4/tcp_syncookies").as_deref() {
            Ok([b'0', ..]) => SynCookies::Never,
            Ok([b'2', ..]) => SynCookies::Always,
            // Where nobody says, what the kernel does unless it is told.
            _ => SynCookies::WhenFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use socket2::{Domain, SockFilter, Socket, Type};

    use super::*;

    fn count(listener: &TcpListener) -> Option<usize> {
        let local = listener.local_addr().unwrap();
        handshakes(&[Listening::new(listener, local)])[0]
    }

    /// A client that never sees the answer to its SYN.
    fn deaf_client(listener: SocketAddr) -> Option<Socket> {
        let client = Socket::new(Domain::for_address(listener), Type::STREAM, None).unwrap();
        let drop_all = SockFilter::new(0x06, 0, 0, 0);
        client.attach_filter(&[drop_all]).ok()?;
        client.set_nonblocking(true).unwrap();
        client.connect(&listener.into()).unwrap_err();
        Some(client)
    }

    fn f2_a_handshake_under_way_is_seen(listen: &str, connect: &str) {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let other = TcpListener::bind((listen, 0)).unwrap();
        let local = (connect, listener.local_addr().unwrap().port());
        if count(&listener).is_none() {
            return println!(
                "skipped: this system does not tell which handshakes are under way"
            );
        }
        assert_eq!(count(&listener), Some(0));
        let done = TcpStream::connect(local).unwrap();
        assert_eq!(count(&listener), Some(0), "that one is in the queue");
        let local = SocketAddr::new(connect.parse().unwrap(), local.1);
        let Some(client) = deaf_client(local) else {
            return println!("skipped: a socket filter needs a capability here");
        };
        assert_eq!(count(&listener), Some(1));
        assert_eq!(count(&other), Some(0));
        drop((client, done));
    }

    #[test]
    fn f2_a_handshake_under_way_is_seen_over_ipv4() {
        f2_a_handshake_under_way_is_seen("127.0.0.1", "127.0.0.1");
        f2_a_handshake_under_way_is_seen("0.0.0.0", "127.0.0.1");
    }

    #[test]
    fn f2_a_handshake_under_way_is_seen_over_ipv6() {
        if TcpListener::bind("[::1]:0").is_err() {
            return println!("skipped: this machine has no IPv6");
        }
        f2_a_handshake_under_way_is_seen("::1", "::1");
        f2_a_handshake_under_way_is_seen("::", "::1");
        // A listener for both kinds, and a client of the older one.
        f2_a_handshake_under_way_is_seen("::", "127.0.0.1");
    }

    #[test]
    fn f2_many_handshakes_come_in_more_than_one_part() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..100).map_while(|_| deaf_client(local)).collect();
        if count(&listener).is_none() {
            return println!("skipped: this system does not tell about handshakes");
        }
        // The system can tell of one twice, where others connect between two parts.
        let mut looks = (0..20).map(|_| count(&listener));
        let expected = Some(clients.len());
        assert!(looks.any(|seen| seen == expected), "{:?}", count(&listener));
    }

    #[test]
    fn f56_a_table_that_is_full_is_not_believed() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&loopback.into()).unwrap();
        socket.listen(8).unwrap();
        let listener = TcpListener::from(socket);
        if count(&listener).is_none() {
            return println!("skipped: this system does not tell about handshakes");
        }
        if SynCookies::of_system() == SynCookies::Never {
            return println!("skipped: SYN cookies are turned off");
        }
        let local = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..40).map_while(|_| deaf_client(local)).collect();
        if clients.is_empty() {
            return println!("skipped: a socket filter needs a capability here");
        }
        assert_eq!(count(&listener), None, "there may be more, with cookies");
    }

    #[test]
    fn f57_a_listener_that_is_not_in_the_table_has_no_known_handshakes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let foreign = Listening {
            local,
            cookie: u64::MAX / 2,
            inode: None,
        };
        assert_eq!(handshakes(&[Some(foreign), None]), [None, None]);
    }

    #[test]
    fn f68_many_listeners_are_looked_at_together() {
        let listeners: Vec<_> = (0..200)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let of =
            |listener: &TcpListener| Listening::new(listener, listener.local_addr().unwrap());
        let all: Vec<_> = listeners.iter().map(of).collect();
        if handshakes(&all)[0].is_none() {
            return println!("skipped: this system does not tell about handshakes");
        }
        let Some(_client) = deaf_client(listeners[42].local_addr().unwrap()) else {
            return println!("skipped: a socket filter needs a capability here");
        };
        for (index, count) in handshakes(&all).into_iter().enumerate() {
            // Not exactly one: other tests of this process leave handshakes
            // at ports that the system hands out again.
            let count = count.expect("this system told before");
            assert!(index != 42 || count >= 1, "listener {index}: {count}");
        }
    }

    #[test]
    fn f52_the_queue_of_a_socket_is_as_long_as_the_system_says() {
        let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn");
        let Ok(most) = somaxconn.unwrap_or_default().trim().parse::<u64>() else {
            return println!("skipped: this system does not tell net.core.somaxconn");
        };
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            if socket.bind(&address.into()).is_err() {
                println!("skipped: {address} cannot be bound here");
                continue;
            }
            for (backlog, limit) in [(5, 6), (-1, most + 1), (i32::MAX, most + 1)] {
                socket.listen(backlog).unwrap();
                match queue_limit(&socket) {
                    None => println!("skipped: this system does not tell about queues"),
                    told => assert_eq!(told, Some(limit), "{address} {backlog}"),
                }
            }
        }
    }

    #[test]
    fn f52_the_queue_of_a_unix_socket_is_known_as_well() {
        let name = format!("lameduck-queue-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        SockRef::from(&listener).listen(7).unwrap();
        match queue_limit(&listener) {
            None => println!("skipped: this system does not tell about Unix sockets"),
            told => assert_eq!(told, Some(8)),
        }
    }
}
