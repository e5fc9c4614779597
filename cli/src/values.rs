//! The values that options take, where not every one makes sense.

use std::fs::Metadata;
use std::net::{AddrParseError, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

/// The shortest time that can be asked for: a limit of less is over before anything ran.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest one: nobody waits for more.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The most rounds of a scenario.
pub(crate) const MOST_ROUNDS: u64 = 1_000_000;

/// Reads a time such as 30s.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    within(SHORTEST, text)
}

/// Reads a time that may be none at all.
pub(crate) fn time_or_zero(text: &str) -> Result<Duration, String> {
    within(Duration::ZERO, text)
}

fn within(shortest: Duration, text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match (shortest..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err(format!(
            "a time from {} to {} is needed",
            humantime::format_duration(shortest),
            humantime::format_duration(LONGEST)
        )),
    }
}

/// Reads an address of TCP.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    match unix_socket(text) {
        Some(problem) => Err(problem),
        None => text
            .parse()
            .map_err(|error: AddrParseError| error.to_string()),
    }
}

/// Returns what is to be said of an address that is a Unix socket; none if it is not one.
/// Another path can be one of HTTP.
pub(crate) fn unix_socket(text: &str) -> Option<String> {
    let prefixes = ["http+unix://", "unix://", "unix:"];
    let path = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    let is_named = |path: &str| {
        let path = Path::new(path);
        let has_name = path
            .extension()
            .is_some_and(|end| end == "sock" || end == "socket");
        let is_socket = |data: Metadata| data.file_type().is_socket();
        path.components().count() > 1 && has_name || path.metadata().is_ok_and(is_socket)
    };
    let path = path.or_else(|| is_named(text).then_some(text))?;
    Some(format!("it is a Unix socket, {}", over_tcp(path)))
}

/// Returns how clients of TCP reach a Unix socket.
pub(crate) fn over_tcp(path: &str) -> String {
    format!(
        "and clients here use TCP: socat \
         TCP-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:{path} gives it the address \
         127.0.0.1:8080"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_is_told_from_a_path_of_http() {
        for text in [
            "unix:/run/app",
            "http+unix:///a",
            "/run/app.sock",
            "./app.socket",
        ] {
            assert!(unix_socket(text).is_some(), "{text}");
        }
        for text in [
            "/health",
            "/",
            "/a/b.html",
            "127.0.0.1:80",
            "http://127.0.0.1/",
            "x.sock:80",
        ] {
            assert_eq!(unix_socket(text), None, "{text}");
        }
        assert_eq!(
            address("127.0.0.1:80"),
            Ok(SocketAddr::from(([127, 0, 0, 1], 80)))
        );
        assert!(address("nonsense").is_err());
    }

    #[test]
    fn a_time_that_makes_no_sense_is_refused() {
        for text in ["1ms", "2s 500ms", "1day"] {
            assert!(time(text).is_ok(), "{text}");
        }
        for text in ["0s", "1us", "1day 1s", "100000years", "5", "-1s", ""] {
            assert!(time(text).is_err(), "{text}");
        }
        let told = "a time from 1ms to 1day is needed";
        assert_eq!(time("0s"), Err(told.to_owned()));
    }

    #[test]
    fn no_time_at_all_is_one_where_it_makes_sense() {
        assert_eq!(time_or_zero("0s"), Ok(Duration::ZERO));
        let told = "a time from 0s to 1day is needed";
        assert_eq!(time_or_zero("2days"), Err(told.to_owned()));
    }
}
