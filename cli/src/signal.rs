//! The signals that a server can be stopped with.

use std::fmt;
use std::str::FromStr;

/// A signal that asks a server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopSignal(rustix::process::Signal);

const NAMES: [(&str, rustix::process::Signal); 6] = [
    ("TERM", rustix::process::Signal::TERM),
    ("INT", rustix::process::Signal::INT),
    ("QUIT", rustix::process::Signal::QUIT),
    ("HUP", rustix::process::Signal::HUP),
    ("USR1", rustix::process::Signal::USR1),
    ("USR2", rustix::process::Signal::USR2),
];

impl StopSignal {
    pub(crate) const TERM: StopSignal = StopSignal(rustix::process::Signal::TERM);

    pub(crate) fn raw(self) -> rustix::process::Signal {
        self.0
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, signal)| *signal == self.0);
        write!(f, "SIG{}", name.map_or("?", |(name, _)| name))
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<StopSignal, String> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        match NAMES.iter().find(|(name, _)| *name == short) {
            Some((_, signal)) => Ok(StopSignal(*signal)),
            None => {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                Err(format!(
                    "a server is stopped with one of {}",
                    names.join(", ")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_with_and_without_its_prefix() {
        for name in ["term", "SIGTERM", "TERM"] {
            assert_eq!(name.parse::<StopSignal>(), Ok(StopSignal::TERM));
        }
        assert!("KILL".parse::<StopSignal>().is_err());
    }
}
