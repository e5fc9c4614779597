//! A rolling restart behind a real balancer: two servers behind HAProxy are
//! restarted, one after the other, while clients go on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::example::http;
use crate::support::{Folder, Process, free_address, lameduck, read, wait_for_listener};

#[test]
fn a_rolling_restart_of_graceful_servers_loses_nothing() {
    let Some(document) = roll("TERM") else {
        return;
    };
    assert_eq!(document["passed"], true, "{document:#}");
    assert_eq!(document["losses"].as_array().unwrap().len(), 0);
}

#[test]
fn a_rolling_restart_of_killed_servers_loses_requests_and_says_when() {
    let Some(document) = roll("KILL") else {
        return;
    };
    assert_eq!(document["passed"], false, "{document:#}");
    let losses = document["losses"].as_array().unwrap();
    assert!(!losses.is_empty());
    for loss in losses {
        assert_eq!(loss["phase"], "during", "{loss:#}");
        assert!(loss["seen_seconds"].as_f64().unwrap() >= 0.0, "{loss:#}");
    }
}

/// Restarts both servers under load, each with a signal; none where there is no HAProxy.
fn roll(signal: &str) -> Option<Value> {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: HAProxy is not installed (apt-get install haproxy)");
        return None;
    }
    let server = http("smol");
    let folder = Folder::new(&format!("haproxy-{signal}"));
    let servers = Servers::start(&folder, &server);
    let front = free_address();
    let configuration = folder.file("haproxy.cfg");
    std::fs::write(&configuration, servers.configuration(front)).unwrap();
    let _haproxy = Process::start("haproxy", &["-f", configuration.to_str().unwrap()]);
    wait_for_listener(front);
    let script = folder.file("roll.sh");
    std::fs::write(&script, ROLL).unwrap();
    let address = front.to_string();
    let home = folder.file("").display().to_string();
    // Closed loops: at each moment a request is under way.
    let options = ["during", "--address", &address, "--connections", "8"];
    let path = ["--path", "/slow?ms=5", "--json", "-"];
    let times = ["--before", "300ms", "--after", "300ms", "--"];
    let [first, second] = servers.addresses.map(|address| address.to_string());
    let paths = [&script, &server].map(|path| path.to_str().unwrap());
    let command = ["sh", paths[0], paths[1], &home, signal, &first, &second];
    let answer = lameduck(&[&options[..], &path, &times, &command].concat());
    let document: Value = serde_json::from_str(&answer.stdout)
        .unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(document["command_succeeded"], true, "{answer:?}");
    Some(document)
}

/// Stops a server, waits for its end, starts the next one, and waits until it
/// listens and the balancer has seen it; then the same with the other. A server that
/// is to be killed stands still before that, so that requests are under way.
const ROLL: &str = r#"
server=$1 home=$2 signal=$3
shift 3
for address in "$@"; do
  if [ "$signal" = KILL ]; then
    kill -s STOP "$(cat "$home/$address.pid")"
    sleep 0.3
  fi
  kill -s "$signal" "$(cat "$home/$address.pid")"
  while [ -e "/proc/$(cat "$home/$address.pid")/exe" ]; do sleep 0.01; done
  "$server" --listen "$address" --lame-duck 1s </dev/null >/dev/null 2>&1 &
  echo $! >"$home/$address.pid"
  until grep -q ":$(printf '%04X' "${address##*:}") 00000000:0000 0A" /proc/net/tcp; do sleep 0.01; done
  sleep 2
done
"#;

/// Two servers that are gone when the test ends, whoever started them.
struct Servers<'a> {
    folder: &'a Folder,
    addresses: [SocketAddr; 2],
    _first: [Process; 2],
}

impl<'a> Servers<'a> {
    fn start(folder: &'a Folder, server: &Path) -> Servers<'a> {
        let addresses = [free_address(), free_address()];
        let first = addresses.map(|address| {
            let listen = address.to_string();
            let args = ["--listen", &listen, "--lame-duck", "1s"];
            let process = Process::start(server.to_str().unwrap(), &args);
            wait_for_listener(address);
            let file = folder.file(&format!("{address}.pid"));
            std::fs::write(file, process.id().to_string()).unwrap();
            process
        });
        Servers {
            folder,
            addresses,
            _first: first,
        }
    }

    /// The balancer asks for readiness, so that it stops sending before a server ends.
    fn configuration(&self, front: SocketAddr) -> String {
        let [first, second] = self.addresses;
        format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n \
             option redispatch\n retries 3\n option httpchk GET /readyz\n \
             default-server check inter 100ms fall 1\n\
             frontend front\n bind {front}\n default_backend servers\n\
             backend servers\n balance roundrobin\n server first {first}\n server second {second}\n"
        )
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for address in self.addresses {
            let number = read(&self.folder.file(&format!("{address}.pid")));
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", number.trim()));
            // Only while it is still one of these servers.
            if line.is_ok_and(|line| line.contains(&address.to_string())) {
                let kill = Command::new("kill").args(["-KILL", number.trim()]).status();
                kill.unwrap();
            }
        }
    }
}
