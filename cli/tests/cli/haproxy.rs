//! A rolling restart behind a real balancer: two servers behind HAProxy are
//! restarted, one after the other, while clients go on.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::support::{
    Folder, LAMEDUCK, Process, free_address, lameduck, read, wait_for_listener,
};

#[test]
fn a_rolling_restart_of_graceful_servers_loses_nothing() {
    let Some(document) = roll("none", "TERM") else {
        return;
    };
    assert_eq!(document["passed"], true, "{document:#}");
    assert_eq!(document["losses"].as_array().unwrap().len(), 0);
}

#[test]
fn a_rolling_restart_of_killed_servers_loses_requests_and_says_when() {
    let Some(document) = roll("none", "KILL") else {
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

/// Restarts both servers under load; none where there is no HAProxy.
fn roll(fault: &str, signal: &str) -> Option<Value> {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: HAProxy is not installed (apt-get install haproxy)");
        return None;
    }
    let folder = Folder::new(&format!("haproxy-{signal}"));
    let servers = Servers::start(&folder, fault);
    let front = free_address();
    let configuration = folder.file("haproxy.cfg");
    std::fs::write(&configuration, servers.configuration(front)).unwrap();
    let _haproxy = Process::start("haproxy", &["-f", configuration.to_str().unwrap()]);
    wait_for_listener(front);
    let script = folder.file("roll.sh");
    std::fs::write(&script, ROLL).unwrap();
    let address = front.to_string();
    let [first, second] = servers.addresses.map(|address| address.to_string());
    let home = folder.file("").display().to_string();
    // Closed loops: at each moment a request is under way.
    let options = ["during", "--address", &address, "--connections", "8"];
    let times = ["--before", "300ms", "--after", "300ms", "--json", "-", "--"];
    let command = [
        "sh",
        script.to_str().unwrap(),
        LAMEDUCK,
        &home,
        fault,
        signal,
    ];
    let answer = lameduck(&[&options[..], &times, &command, &[&first, &second]].concat());
    let document: Value = serde_json::from_str(&answer.stdout)
        .unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(document["command_succeeded"], true, "{answer:?}");
    Some(document)
}

/// Stops a server, waits for its end, starts the next one, and waits until it
/// listens; then the same with the other. A server that is to be killed stands
/// still before that, so that requests are under way.
const ROLL: &str = r#"
tool=$1 home=$2 fault=$3 signal=$4
shift 4
for address in "$@"; do
  if [ "$signal" = KILL ]; then
    kill -s STOP "$(cat "$home/$address.pid")"
    sleep 0.3
  fi
  kill -s "$signal" "$(cat "$home/$address.pid")"
  while [ -e "/proc/$(cat "$home/$address.pid")/exe" ]; do sleep 0.01; done
  "$tool" fixture "$fault" --protocol http --listen "$address" </dev/null >/dev/null 2>&1 &
  echo $! >"$home/$address.pid"
  until grep -q ":$(printf '%04X' "${address##*:}") 00000000:0000 0A" /proc/net/tcp; do sleep 0.01; done
  sleep 0.5
done
"#;

/// Two servers that are gone when the test ends, whoever started them.
struct Servers<'a> {
    folder: &'a Folder,
    addresses: [SocketAddr; 2],
    _first: [Process; 2],
}

impl<'a> Servers<'a> {
    fn start(folder: &'a Folder, fault: &str) -> Servers<'a> {
        let servers = [(); 2].map(|()| Process::fixture(fault, "http"));
        for (process, address) in &servers {
            let file = folder.file(&format!("{address}.pid"));
            std::fs::write(file, process.id().to_string()).unwrap();
        }
        let addresses = [servers[0].1, servers[1].1];
        Servers {
            folder,
            addresses,
            _first: servers.map(|(process, _)| process),
        }
    }

    fn configuration(&self, front: SocketAddr) -> String {
        let [first, second] = self.addresses;
        format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n \
             option redispatch\n retries 3\n\
             frontend front\n bind {front}\n default_backend servers\n\
             backend servers\n balance roundrobin\n \
             server first {first} check inter 100ms\n server second {second} check inter 100ms\n"
        )
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for address in self.addresses {
            let number = read(&self.folder.file(&format!("{address}.pid")));
            let is_ours = std::fs::read_to_string(format!("/proc/{}/cmdline", number.trim()));
            // Only while it is still one of these servers.
            if is_ours.is_ok_and(|line| line.contains(&address.to_string())) {
                let kill = Command::new("kill").args(["-KILL", number.trim()]).status();
                kill.unwrap();
            }
        }
    }
}
