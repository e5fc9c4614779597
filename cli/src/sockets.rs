//! The TCP sockets of this machine: who listens, and what waits in the queues of a
//! connection. On other systems than Linux each function returns `None`, and the callers say
//! what they could not see.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the addresses on which these processes listen.
pub(crate) fn listening(processes: &[i32]) -> Option<BTreeSet<SocketAddr>> {
    let mut addresses = BTreeSet::new();
    for line in listening_lines()? {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let inode = fields.get(9).map(|inode| format!("socket:[{inode}]"));
        if let Some((address, inode)) = fields.get(1).and_then(|a| parse_address(a)).zip(inode)
            && !holders(&[inode], processes).is_empty()
        {
            addresses.insert(address);
        }
    }
    Some(addresses)
}

/// Returns the paths of the Unix sockets on which these processes listen.
pub(crate) fn unix_listening(processes: &[i32]) -> Option<Vec<String>> {
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    let listening = table.lines().skip(1).filter_map(parse_unix);
    let held = listening
        .filter(|(inode, _)| !holders(std::slice::from_ref(inode), processes).is_empty());
    Some(held.map(|(_, path)| path.to_owned()).collect())
}

/// Returns the socket of a line of `/proc/net/unix`, as `/proc/PID/fd` names it, and its path,
/// if it is a stream that is listened on (`proc_pid_net(5)`).
fn parse_unix(line: &str) -> Option<(String, &str)> {
    /// In include/linux/net.h: `__SO_ACCEPTCON`.
    const LISTENING: &str = "00010000";
    const STREAM: &str = "0001";
    // The path stands last, and may hold spaces; the number before it is padded with them.
    let mut fields = line.splitn(7, ' ');
    let (flags, kind) = (fields.nth(3)?, fields.next()?);
    let (inode, path) = fields.nth(1)?.trim_start().split_once(' ')?;
    // One that begins so has a name without a file.
    let is_listening = flags == LISTENING && kind == STREAM && !path.starts_with('@');
    is_listening.then(|| (format!("socket:[{inode}]"), path))
}

/// Returns those of some processes that hold a socket which listens on an address.
pub(crate) fn listeners(address: SocketAddr, among: &[i32]) -> Option<Vec<i32>> {
    Some(holders(&listening_sockets(address)?, among))
}

/// Returns those of some processes that hold the server's end of a connection with one of
/// these clients.
pub(crate) fn serving(
    server: SocketAddr,
    clients: &[SocketAddr],
    among: &[i32],
) -> Option<Vec<i32>> {
    let paths = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables: Vec<_> = paths.iter().flat_map(fs::read_to_string).collect();
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let sockets: Vec<String> = lines
        .filter_map(|line| connection_of(line, server, clients))
        .collect();
    (!tables.is_empty()).then(|| holders(&sockets, among))
}

/// Returns the socket of a line, as `/proc/PID/fd` names it, if it is the server's end of a
/// connection with one of these clients.
fn connection_of(line: &str, server: SocketAddr, clients: &[SocketAddr]) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let own = parse_address(fields.get(1)?)?;
    let peer = parse_address(fields.get(2)?)?;
    let is_client = |client: &SocketAddr| canonical(*client) == peer;
    let is_ours = own.port() == server.port() && clients.iter().any(is_client);
    is_ours.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
}

/// Returns those of some processes that hold one of these sockets.
fn holders(sockets: &[String], among: &[i32]) -> Vec<i32> {
    let mut holders = Vec::new();
    for pid in among {
        // The descriptors of other users' processes are not ours to see.
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let mut links = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        if links.any(|link| {
            sockets
                .iter()
                .any(|socket| link.as_os_str() == socket.as_str())
        }) {
            holders.push(*pid);
        }
    }
    holders
}

/// Returns the listening sockets of an address, as `/proc/PID/fd` names them.
fn listening_sockets(address: SocketAddr) -> Option<Vec<String>> {
    let mut sockets = Vec::new();
    for line in listening_lines()? {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1).and_then(|text| parse_address(text));
        let is_ours = local.is_some_and(|local| covers(local, address));
        if is_ours {
            sockets.extend(fields.get(9).map(|inode| format!("socket:[{inode}]")));
        }
    }
    Some(sockets)
}

/// Says whether a socket that listens there is the one of an address.
fn covers(listening: SocketAddr, address: SocketAddr) -> bool {
    let (listening, address) = (canonical(listening), canonical(address));
    listening.port() == address.port()
        && (listening.ip() == address.ip() || listening.ip().is_unspecified())
}

/// Returns the lines of all listening sockets.
fn listening_lines() -> Option<Vec<String>> {
    let mut lines = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if let Ok(table) = fs::File::open(path) {
            lines.extend(listening_in(BufReader::new(table)));
        }
    }
    fs::metadata("/proc/net/tcp").ok().map(|_| lines)
}

/// Returns the lines of the listening sockets of a table. Linux writes them before all
/// others (`net/ipv4/tcp_ipv4.c`, `tcp_seq_start`); behind them can be a hundred thousand
/// connections in TIME-WAIT, and nobody has to print and to read those.
fn listening_in(table: impl BufRead) -> impl Iterator<Item = String> {
    const LISTEN: &str = "0A";
    /// A listener whose close has begun.
    const CLOSED: &str = "07";
    let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    let lines = table.lines().skip(1).map_while(Result::ok);
    let lines = lines.map(move |line| (state(&line), line));
    let lines =
        lines.take_while(|(state, _)| matches!(state.as_deref(), Some(LISTEN | CLOSED)));
    lines.filter_map(|(state, line)| (state.as_deref() == Some(LISTEN)).then_some(line))
}

/// How much waits in the two queues of a socket, and whether its connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queues {
    /// Neither side has begun to end the connection.
    pub(crate) is_established: bool,
    /// Written, and not yet acknowledged by the peer's kernel.
    pub(crate) unacknowledged: u64,
    /// Received, and not yet read.
    pub(crate) unread: u64,
}

/// A socket by its own and its peer's address.
pub(crate) type Socket = ((SocketAddr, SocketAddr), Queues);

/// The sockets of the connections to one server, by their own and their peer's address.
#[derive(Debug, Default)]
pub(crate) struct Sockets(HashMap<(SocketAddr, SocketAddr), Queues>);

impl Sockets {
    pub(crate) fn get(&self, own: SocketAddr, peer: SocketAddr) -> Option<Queues> {
        self.0.get(&(canonical(own), canonical(peer))).copied()
    }

    /// Says whether some bytes have not reached the kernel at an address.
    pub(crate) fn has_bytes_under_way_to(&self, peer: SocketAddr) -> bool {
        let peer = canonical(peer);
        let mut sockets = self.0.iter();
        sockets.any(|((_, to), queues)| *to == peer && queues.unacknowledged > 0)
    }
}

/// An IPv4 address that a socket of IPv6 has is the same address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Returns the open TCP sockets of both ends of the connections to a server.
pub(crate) fn sockets(server: SocketAddr) -> Option<Sockets> {
    asked(server).or_else(|| printed(server))
}

/// Returns what the system says when it is asked for these alone.
#[cfg(target_os = "linux")]
fn asked(server: SocketAddr) -> Option<Sockets> {
    use crate::sock_diag;
    use rustix::net::AddressFamily;

    // A server that listens for both families has the connections of IPv4 in the second.
    let families: &[AddressFamily] = match canonical(server) {
        SocketAddr::V4(_) => &[AddressFamily::INET, AddressFamily::INET6],
        SocketAddr::V6(_) => &[AddressFamily::INET6],
    };
    let mut sockets = Sockets::default();
    for family in families {
        let all = sock_diag::sockets(*family).ok()?.into_iter();
        let is_ours = |at: &SocketAddr| at.port() == server.port();
        let ours = all.filter(|((own, peer), _)| is_ours(own) || is_ours(peer));
        sockets.0.extend(ours);
    }
    Some(sockets)
}

#[cfg(not(target_os = "linux"))]
fn asked(_: SocketAddr) -> Option<Sockets> {
    None
}

/// Returns the same of the tables for people. They take their time where many other
/// connections are in TIME-WAIT: the system prints those, too.
fn printed(server: SocketAddr) -> Option<Sockets> {
    let paths: &[&str] = match canonical(server) {
        SocketAddr::V4(_) => &["/proc/net/tcp", "/proc/net/tcp6"],
        SocketAddr::V6(_) => &["/proc/net/tcp6"],
    };
    let tables: Vec<_> = paths.iter().flat_map(fs::read).collect();
    let mut sockets = Sockets::default();
    for table in &tables {
        sockets.add(table, server.port());
    }
    (!tables.is_empty()).then_some(sockets)
}

impl Sockets {
    /// Adds those of a table that have the port.
    fn add(&mut self, table: &[u8], port: u16) {
        // Lines of others are many, and are not worth more than this look.
        let port = format!(":{port:04X} ");
        let lines = String::from_utf8_lossy(table);
        let lines = lines.lines().skip(1).filter(|line| line.contains(&port));
        self.0.extend(lines.filter_map(parse_socket));
    }
}

fn parse_socket(line: &str) -> Option<Socket> {
    /// A handshake that is not over, or a connection that TCP_DEFER_ACCEPT holds back.
    const SYN_RECEIVED: &str = "03";
    const TIME_WAIT: &str = "06";
    const CLOSED: &str = "07";
    const LISTEN: &str = "0A";
    const ESTABLISHED: &str = "01";
    let fields: Vec<&str> = line.split_whitespace().take(5).collect();
    let state = *fields.get(3)?;
    if matches!(state, SYN_RECEIVED | TIME_WAIT | CLOSED | LISTEN) {
        return None;
    }
    let (transmit, receive) = fields.get(4)?.split_once(':')?;
    let queues = Queues {
        is_established: state == ESTABLISHED,
        unacknowledged: u64::from_str_radix(transmit, 16).ok()?,
        unread: u64::from_str_radix(receive, 16).ok()?,
    };
    let addresses = (
        parse_address(fields.get(1)?)?,
        parse_address(fields.get(2)?)?,
    );
    Some((addresses, queues))
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of four bytes, each printed in the machine's own byte order.
    let mut bytes = Vec::new();
    for start in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(start..start + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::procfs::family;

    #[test]
    fn a_listening_unix_socket_is_known_by_its_flags() {
        let line = |flags: &str, kind: &str, path: &str| {
            format!("000000004fa4dca4: 00000002 00000000 {flags} {kind} 01    42 {path}")
        };
        let path = "/run/a server.sock";
        let listening = line("00010000", "0001", path);
        let found = Some(("socket:[42]".to_owned(), path));
        assert_eq!(parse_unix(&listening), found);
        for other in [
            line("00000000", "0001", path),
            line("00010000", "0002", path),
            line("00010000", "0001", "@name"),
            "000000004fa4dca4: 00000003 00000000 00010000 0001 03 24622682".to_owned(),
        ] {
            assert_eq!(parse_unix(&other), None, "{other}");
        }
    }

    #[test]
    fn the_holder_of_a_listening_socket_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        if let Some(holders) = listeners(address, &[own]) {
            assert!(holders.contains(&own), "{holders:?}");
            assert!(family(own).unwrap().contains(&own));
        }
    }

    #[test]
    fn the_holder_of_a_connection_is_found_by_its_client() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(server).unwrap();
        let client_address = client.local_addr().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let held = |clients: &[SocketAddr]| serving(server, clients, &[own]);
        let Some(holders) = held(&[client_address]) else {
            return;
        };
        assert!(
            holders.is_empty(),
            "it waits in the queue, and nobody holds it"
        );
        let accepted = listener.accept().unwrap();
        assert_eq!(held(&[client_address]), Some(vec![own]));
        assert_eq!(held(&[server]), Some(Vec::new()));
        drop(accepted);
    }

    /// The part of the table that must not be read.
    struct TimeWaits;

    impl Read for TimeWaits {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it reads on")
        }
    }

    #[test]
    fn listeners_are_read_up_to_the_first_connection() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 0100007F:0050 00000000:0000 0A 0:0\n\
                     1: 0100007F:0051 00000000:0000 07 0:0\n\
                     2: 0100007F:0052 00000000:0000 0A 0:0\n\
                     3: 0100007F:0050 0100007F:BEEF 06 0:0\n";
        let found: Vec<String> =
            listening_in(BufReader::new(table.as_bytes().chain(TimeWaits))).collect();
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_is_read_with_its_queues() {
        let line = "0: 0100007F:BEEF 0100007F:0050 01 0000000A:00000010 00:0 0 0";
        let (addresses, queues) = parse_socket(line).unwrap();
        assert_eq!(addresses.0, "127.0.0.1:48879".parse().unwrap());
        assert_eq!(addresses.1, "127.0.0.1:80".parse().unwrap());
        assert_eq!((queues.unacknowledged, queues.unread), (10, 16));
        assert!(queues.is_established);
        let time_wait = line.replace(" 01 ", " 06 ");
        assert_eq!(parse_socket(&time_wait), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_of_both_families_is_found_by_the_address_of_its_peer() {
        const MAPPED: &str = "0000000000000000FFFF00000100007F";
        let table = format!(
            "  sl  local_address rem_address   st\n\
             0: {MAPPED}:0050 {MAPPED}:BEEF 01 0000000A:00000000 00:0 0 0\n\
             1: {MAPPED}:0051 {MAPPED}:BEEF 01 0000000B:00000000 00:0 0 0\n"
        );
        let mut sockets = Sockets::default();
        sockets.add(table.as_bytes(), 80);
        assert_eq!(sockets.0.len(), 1, "{sockets:?}");
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let client = address("127.0.0.1:48879");
        for server in ["127.0.0.1:80", "[::ffff:127.0.0.1]:80"] {
            let queues = sockets.get(address(server), client).unwrap();
            assert_eq!(queues.unacknowledged, 10);
        }
        assert!(sockets.has_bytes_under_way_to(client));
    }

    #[test]
    fn the_holder_of_a_socket_of_both_families_is_found() {
        let Ok(listener) = std::net::TcpListener::bind("[::ffff:127.0.0.1]:0") else {
            // There is no IPv6 here.
            return;
        };
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if let Some(holders) = listeners(address, &[own]) {
            assert_eq!(holders, [own]);
        }
    }

    #[test]
    fn the_system_says_the_same_as_it_prints() {
        use std::io::Write;

        for host in ["127.0.0.1", "[::]", "[::1]"] {
            let Ok(listener) = std::net::TcpListener::bind(format!("{host}:0")) else {
                // There is no IPv6 here.
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let host = if host == "[::1]" { host } else { "127.0.0.1" };
            let server: SocketAddr = format!("{host}:{port}").parse().unwrap();
            let mut client = std::net::TcpStream::connect(server).unwrap();
            client.write_all(b"ten bytes.").unwrap();
            let local = client.local_addr().unwrap();
            let (Some(asked), Some(printed)) = (asked(server), printed(server)) else {
                return;
            };
            let queues = asked.get(server, local).unwrap();
            assert_eq!(queues.unread, 10, "{host}");
            assert!(queues.is_established, "{host}");
            assert_eq!(asked.0, printed.0, "{host}");
            assert_eq!(asked.0.len(), 2, "{asked:?}");
            drop(client);
        }
    }
}
