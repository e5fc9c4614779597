//! The variables by which descriptors are passed on: sd_listen_fds(3). They
//! come from outside, so they are checked before they are used.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

/// More than any process can have open, by default of the kernel
/// (`fs.nr_open`).
const MAX_DESCRIPTORS: u32 = 1 << 20;
/// Where descriptors begin, behind the standard streams.
const FIRST: u32 = 3;
/// `O_CLOEXEC` in the flags that proc_pid_fdinfo(5) shows.
const CLOSED_ON_EXEC: u32 = 0o2000000;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    pub(super) recipient: Recipient,
    first: u32,
    count: u32,
    names: Vec<String>,
}

/// The process that they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    Us,
    Other(u32),
}

impl Environment {
    /// Reads the variables; `None` where nothing was passed.
    pub(super) fn read(
        own_process: u32,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Environment>, String> {
        let number = |name: &str| -> Result<Option<u32>, String> {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
                return Ok(None);
            };
            let text = value.to_string_lossy();
            match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("{name} is `{text}`, which is no number")),
            }
        };
        let Some(count) = number("LISTEN_FDS")? else {
            return Ok(None);
        };
        let recipient = match number("LISTEN_PID")? {
            Some(process) if process != own_process => Recipient::Other(process),
            _ => Recipient::Us,
        };
        let first = number("LISTEN_FDS_FIRST_FD")?.unwrap_or(FIRST);
        if first < FIRST || count > MAX_DESCRIPTORS || first > MAX_DESCRIPTORS {
            return Err(format!(
                "LISTEN_FDS says {count} descriptors from {first} on, which cannot be"
            ));
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.to_string_lossy();
        Ok(Some(Environment {
            recipient,
            first,
            count,
            names: names.split(':').map(str::to_owned).collect(),
        }))
    }

    /// Checks that the descriptors were passed on, where the system tells.
    pub(super) fn check_descriptors(&self) -> Result<(), String> {
        let info = Path::new("/proc/self/fdinfo");
        if !info.exists() {
            return Ok(());
        }
        let mut numbers = self.first..self.first + self.count;
        numbers.try_for_each(|number| {
            check_passed(number, &fs::read_to_string(info.join(number.to_string())))
        })
    }

    /// Returns the name of a descriptor; "unknown", as with systemd, where it
    /// has none.
    pub(super) fn name(&self, id: usize) -> &str {
        let name = self.names.get(id).filter(|name| !name.is_empty());
        name.map_or("unknown", String::as_str)
    }
}

/// Checks that a descriptor was passed on, by what the system says of it: one
/// that would be closed on exec was opened by this process, and to take it would
/// take it from its owner.
fn check_passed(number: u32, info: &io::Result<String>) -> Result<(), String> {
    let Ok(info) = info else {
        return Err(format!(
            "LISTEN_FDS counts descriptor {number}, which is not open"
        ));
    };
    let mut flags = info.lines().filter_map(|line| line.strip_prefix("flags:"));
    let flags = flags
        .next()
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    match flags {
        Some(flags) if flags & CLOSED_ON_EXEC != 0 => Err(format!(
            "LISTEN_FDS counts descriptor {number}, which was not passed on: this process has \
             opened it"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(variables: &[(&str, &[u8])]) -> Result<Option<Environment>, String> {
        Environment::read(42, |wanted| {
            let mut found = variables.iter().filter(|(name, _)| *name == wanted);
            found
                .next()
                .map(|(_, value)| OsString::from_vec(value.to_vec()))
        })
    }

    #[test]
    fn f64_names_belong_to_descriptors_in_their_order() {
        let read = read(&[("LISTEN_FDS", b"4"), ("LISTEN_FDNAMES", b"http::\xffudp")]);
        let environment = read.unwrap().unwrap();
        assert_eq!(environment.recipient, Recipient::Us);
        let names: Vec<_> = (0..4).map(|id| environment.name(id)).collect();
        assert_eq!(names, ["http", "unknown", "\u{fffd}udp", "unknown"]);
    }

    #[test]
    fn f63_descriptors_for_another_process_are_told_from_ours() {
        let of = |process: &'static [u8]| {
            let read = read(&[("LISTEN_FDS", b"1"), ("LISTEN_PID", process)]);
            read.unwrap().unwrap().recipient
        };
        assert_eq!(of(b"42"), Recipient::Us);
        assert_eq!(of(b""), Recipient::Us);
        assert_eq!(of(b"41"), Recipient::Other(41));
        assert_eq!(read(&[("LISTEN_PID", b"42")]), Ok(None));
    }

    #[test]
    fn f64_descriptors_of_the_process_itself_are_not_taken() {
        let shown = |text: &str| check_passed(7, &Ok(text.to_owned()));
        assert_eq!(shown("pos:\t0\nflags:\t02\nmnt_id:\t15\n"), Ok(()));
        let own = shown("pos:\t0\nflags:\t02000002\n").unwrap_err();
        assert!(
            own.contains("descriptor 7, which was not passed on"),
            "{own}"
        );
        let missing = check_passed(7, &Err(io::ErrorKind::NotFound.into()));
        assert!(
            missing
                .unwrap_err()
                .contains("descriptor 7, which is not open")
        );
        assert_eq!(shown("something new"), Ok(()));
    }

    #[test]
    fn f64_broken_values_are_errors_that_quote_them() {
        for value in [
            &b"-1"[..],
            b"three",
            b"4294967296",
            b"1 ",
            b"\xff",
            b"0x3",
            b"1.5",
        ] {
            for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDS_FIRST_FD"] {
                let error = match name {
                    "LISTEN_FDS" => read(&[(name, value)]),
                    _ => read(&[("LISTEN_FDS", b"1"), (name, value)]),
                };
                let error = error.unwrap_err();
                assert!(error.contains(name), "{error}");
                assert!(error.contains(&*String::from_utf8_lossy(value)), "{error}");
            }
        }
        for (count, first) in [
            (&b"4294967295"[..], &b"3"[..]),
            (b"2000000", b"3"),
            (b"1", b"2147483647"),
            (b"1", b"0"),
        ] {
            let read = read(&[("LISTEN_FDS", count), ("LISTEN_FDS_FIRST_FD", first)]);
            assert!(read.unwrap_err().contains("cannot be"));
        }
    }
}
