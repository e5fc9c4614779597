//! The signals that a server can be stopped with: any of the system's.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::process::{Pid, Signal};

use crate::server::adopted;

/// A signal that asks a server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopSignal {
    number: i32,
    /// None: a real-time signal, which the system sends for us.
    named: Option<Signal>,
}

/// Names and signals, the usual ones first.
const NAMES: [(&str, Signal); 24] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("ALRM", Signal::ALARM),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("PIPE", Signal::PIPE),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("IO", Signal::IO),
    ("ABRT", Signal::ABORT),
    ("TRAP", Signal::TRAP),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("SYS", Signal::SYS),
    #[cfg(target_os = "linux")]
    ("PWR", Signal::POWER),
    #[cfg(not(target_os = "linux"))]
    ("EMT", Signal::TRAP),
];

/// The first real-time signal that programs may use: the two below it belong to the
/// C library (signal(7)).
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl StopSignal {
    pub(crate) const TERM: StopSignal = StopSignal {
        number: Signal::TERM.as_raw(),
        named: Some(Signal::TERM),
    };

    pub(crate) const HUP: StopSignal = StopSignal {
        number: Signal::HUP.as_raw(),
        named: Some(Signal::HUP),
    };

    /// Returns the number of the signal.
    pub(crate) fn number(self) -> i32 {
        self.number
    }

    fn of(signal: Signal) -> StopSignal {
        StopSignal {
            number: signal.as_raw(),
            named: Some(signal),
        }
    }

    /// Sends it to a process.
    pub(crate) fn send(self, pid: Pid) -> io::Result<()> {
        match self.named {
            Some(signal) => Ok(rustix::process::kill_process(pid, signal)?),
            None => self.send_by_command(&pid.as_raw_nonzero().to_string()),
        }
    }

    /// Sends it to a process group.
    pub(crate) fn send_group(self, group: Pid) -> io::Result<()> {
        match self.named {
            Some(signal) => Ok(rustix::process::kill_process_group(group, signal)?),
            None => self.send_by_command(&format!("-{}", group.as_raw_nonzero())),
        }
    }

    /// Sends a real-time signal, for which there is no safe call.
    fn send_by_command(self, receiver: &str) -> io::Result<()> {
        let mut kill = std::process::Command::new("kill");
        kill.args(["-s", &self.number.to_string(), "--", receiver])
            .stdin(std::process::Stdio::null());
        let status = adopted::spawn(&mut kill)?.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("kill ended with {status}"))),
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, signal)| Some(*signal) == self.named);
        match name {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.number >= RTMIN => write!(f, "SIGRTMIN+{}", self.number - RTMIN),
            None => write!(f, "signal {}", self.number),
        }
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<StopSignal, String> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let signal = match (short.parse::<i32>(), real_time(short)) {
            (Ok(number), _) | (_, Some(number)) => by_number(number),
            _ => {
                let name = NAMES.iter().find(|(name, _)| *name == short);
                name.map(|(_, signal)| StopSignal::of(*signal))
            }
        };
        signal.ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!(
                "no signal that a server can catch: names are {}, RTMIN+0 to RTMAX, or a number",
                names.join(", ")
            )
        })
    }
}

/// Returns the number of RTMIN+n or RTMAX-n.
fn real_time(text: &str) -> Option<i32> {
    let offset = |text: &str| match text.is_empty() {
        true => Some(0),
        false => text.get(1..)?.parse::<i32>().ok().filter(|n| *n >= 0),
    };
    match (text.strip_prefix("RTMIN"), text.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => {
            Some(RTMIN.saturating_add(offset(rest)?))
        }
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => {
            Some(RTMAX.saturating_sub(offset(rest)?))
        }
        _ => None,
    }
}

fn by_number(number: i32) -> Option<StopSignal> {
    // SIGKILL and SIGSTOP cannot be caught.
    if [Signal::KILL.as_raw(), Signal::STOP.as_raw()].contains(&number) {
        return None;
    }
    match number {
        RTMIN..=RTMAX if cfg!(target_os = "linux") => Some(StopSignal {
            number,
            named: None,
        }),
        _ => Signal::from_named_raw(number).map(StopSignal::of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_with_and_without_its_prefix() {
        for name in ["term", "SIGTERM", "TERM", "15"] {
            assert_eq!(name.parse::<StopSignal>(), Ok(StopSignal::TERM));
        }
        for name in [
            "KILL", "9", "STOP", "0", "65", "-1", "RTMIN+31", "RTMAX-31", "nothing",
        ] {
            assert!(name.parse::<StopSignal>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_signal_says_its_name() {
        for (name, said) in [
            ("winch", "SIGWINCH"),
            ("12", "SIGUSR2"),
            ("RTMIN", "SIGRTMIN+0"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("RTMAX-1", "SIGRTMIN+29"),
        ] {
            assert_eq!(name.parse::<StopSignal>().unwrap().to_string(), said);
        }
    }
}
