//! Which fixtures are checked in which way, and what has to come of it.

use clap::ValueEnum;

use crate::fixture::{Dialect, Fault};
use crate::scenario::Scenario;
use crate::setup::Protocol;

use super::convictions::{BAD, BAD_IN_DIALECTS, BAD_OVER_TLS, Sign};
use Protocol::{Echo, H2, Http, Lines, Ws};

/// One fixture, one scenario, and the right verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) scenario: Scenario,
    pub(super) protocol: Protocol,
    pub(super) is_tls: bool,
    pub(super) dialect: Dialect,
    pub(super) fault: Fault,
    /// A restart has another process take its place.
    pub(super) hands_over: bool,
    /// It says something before it is asked.
    pub(super) greets: bool,
    /// The request of the clients, where it is not the usual one.
    pub(super) request: Option<&'static str>,
    /// It has to be convicted of this. Without it, it has to pass.
    pub(super) sign: Option<Sign>,
    /// It has to pass with this note.
    pub(super) note: Option<&'static str>,
}

/// Scenarios whose meaning is another one over TLS.
const OVER_TLS: [Scenario; 8] = [
    Scenario::Frozen,
    Scenario::Storm,
    Scenario::HalfRequest,
    Scenario::Idle,
    Scenario::Stubborn,
    Scenario::TlsSilent,
    Scenario::TlsHalfRecord,
    Scenario::CloseNotify,
];

/// Scenarios that look at what a dialect of HTTP changes.
const IN_DIALECTS: [Scenario; 5] = [
    Scenario::Frozen,
    Scenario::Storm,
    Scenario::Pipelined,
    Scenario::HalfRequest,
    Scenario::SlowReader,
];

/// Scenarios in which a client has to tell the greeting of a server from its answers.
const WITH_GREETING: [(Protocol, &[Scenario]); 2] = [
    (
        Lines,
        &[
            Scenario::Frozen,
            Scenario::Storm,
            Scenario::Pipelined,
            Scenario::SlowSpeaker,
            Scenario::HalfRequest,
            Scenario::Idle,
            Scenario::Silent,
        ],
    ),
    (
        Ws,
        &[
            Scenario::Frozen,
            Scenario::Storm,
            Scenario::Upgrade,
            Scenario::Websocket,
        ],
    ),
];

impl Case {
    const fn good(scenario: Scenario, protocol: Protocol) -> Case {
        Case {
            scenario,
            protocol,
            is_tls: false,
            dialect: Dialect::KeepAlive,
            fault: Fault::None,
            hands_over: false,
            greets: false,
            request: None,
            sign: None,
            note: None,
        }
    }

    /// Returns what it is, for people.
    pub(super) fn name(&self) -> String {
        let tls = match self.is_tls {
            true => " over TLS",
            false => "",
        };
        let (scenario, protocol) = (self.scenario, self.protocol);
        let (dialect, fault) = (value(self.dialect), value(self.fault));
        let successor = match self.hands_over {
            true => ", by a successor",
            false => "",
        };
        let greeting = match self.greets {
            true => " with a greeting",
            false => "",
        };
        format!(
            "{scenario}{successor}, {protocol}{tls}{greeting}, dialect: {dialect}, fault: {fault}"
        )
    }
}

/// Returns the name of a value as it stands on the command line.
pub(super) fn value(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Returns every case.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for protocol in Protocol::ALL {
        let fitting = Scenario::ALL.into_iter();
        let fitting = fitting.filter(|scenario| scenario.fits(protocol, false));
        cases.extend(fitting.map(|scenario| Case::good(scenario, protocol)));
        let fitting = OVER_TLS.into_iter();
        let fitting = fitting.filter(|scenario| scenario.fits(protocol, true));
        cases.extend(fitting.map(|scenario| Case {
            is_tls: true,
            ..Case::good(scenario, protocol)
        }));
    }
    for (scenario, fault, sign, protocols) in BAD {
        cases.extend(protocols.iter().map(|protocol| Case {
            fault,
            sign: Some(sign),
            ..Case::good(scenario, *protocol)
        }));
    }
    cases.extend(BAD_OVER_TLS.map(|(scenario, fault, sign, protocol)| Case {
        is_tls: true,
        fault,
        sign: Some(sign),
        ..Case::good(scenario, protocol)
    }));
    for dialect in Dialect::value_variants() {
        cases.extend(IN_DIALECTS.map(|scenario| Case {
            dialect: *dialect,
            ..Case::good(scenario, Http)
        }));
    }
    cases.extend(
        BAD_IN_DIALECTS.map(|(dialect, scenario, fault, sign)| Case {
            dialect,
            fault,
            sign: Some(sign),
            ..Case::good(scenario, Http)
        }),
    );
    cases.extend(single());
    cases.extend(cut());
    cases.extend(greeting());
    for protocol in [Echo, Http, H2] {
        cases.extend(successors(protocol));
    }
    cases
}

/// Restarts in which another process takes the place of the first one.
fn successors(protocol: Protocol) -> [Case; 3] {
    let good = Case {
        hands_over: true,
        note: Some("another process has taken its place"),
        ..Case::good(Scenario::Restart, protocol)
    };
    let bad = |fault| Case {
        fault,
        sign: Some(Sign::Noticed),
        note: None,
        ..good
    };
    [good, bad(Fault::RestartGap), bad(Fault::Abrupt)]
}

/// Servers that greet each client with what is no answer.
fn greeting() -> Vec<Case> {
    const NOTE: &str = "it greets each client with one";
    let good = |scenario, protocol| Case {
        greets: true,
        note: Some(NOTE),
        ..Case::good(scenario, protocol)
    };
    let bad = |scenario, fault, sign, protocol| Case {
        fault,
        sign: Some(sign),
        ..good(scenario, protocol)
    };
    let all = WITH_GREETING.into_iter().flat_map(|(protocol, scenarios)| {
        scenarios
            .iter()
            .map(move |scenario| good(*scenario, protocol))
    });
    let single = [
        // As many as there are clients: the greeting answers none of them.
        bad(
            Scenario::HalfRequest,
            Fault::DropsHalf,
            Sign::AllLost(16),
            Lines,
        ),
        bad(
            Scenario::HalfRequest,
            Fault::DropsHalf,
            Sign::AllLost(16),
            Ws,
        ),
        bad(
            Scenario::Frozen,
            Fault::StopFirst,
            Sign::AllLost(100),
            Lines,
        ),
        bad(Scenario::Frozen, Fault::NoSweep, Sign::Reset, Lines),
        bad(Scenario::Silent, Fault::KeepsSilent, Sign::Overdue, Lines),
        Case {
            fault: Fault::Synchronizes,
            note: Some("it takes no request before that"),
            ..good(Scenario::Frozen, Lines)
        },
    ];
    all.chain(single).collect()
}

/// Servers of WebSocket whose Close frame comes before the rest of a message, as it may.
fn cut() -> [Case; 4] {
    let cut = |scenario, is_tls| Case {
        is_tls,
        fault: Fault::ReturnsHalf,
        note: Some("which RFC 6455 section 5.5.1 allows"),
        ..Case::good(scenario, Ws)
    };
    [
        cut(Scenario::Websocket, false),
        cut(Scenario::HalfRequest, false),
        cut(Scenario::SlowSpeaker, false),
        cut(Scenario::TlsHalfRecord, true),
    ]
}

/// Combinations of which there is one each.
fn single() -> [Case; 12] {
    [
        Case {
            fault: Fault::DiesOfSignal,
            note: Some("by the very signal that stopped it"),
            ..Case::good(Scenario::Exit, Http)
        },
        Case {
            request: Some("HEAD /"),
            ..Case::good(Scenario::Frozen, Http)
        },
        Case {
            request: Some("HEAD /"),
            fault: Fault::BodyOfHead,
            sign: Some(Sign::Refused("no HTTP/1 answer")),
            ..Case::good(Scenario::Frozen, Http)
        },
        Case {
            fault: Fault::ReturnsHalf,
            note: Some("RFC 9113 section 6.8"),
            ..Case::good(Scenario::Streams, H2)
        },
        Case {
            fault: Fault::ResetsClosed,
            ..Case::good(Scenario::Websocket, Ws)
        },
        Case {
            dialect: Dialect::CloseEach,
            note: Some("RFC 9112 section 9.6"),
            ..Case::good(Scenario::Pipelined, Http)
        },
        Case {
            request: Some("DELETE /one"),
            ..Case::good(Scenario::HalfRequest, H2)
        },
        Case {
            fault: Fault::MasterFirst,
            ..Case::good(Scenario::Storm, Ws)
        },
        Case {
            is_tls: true,
            fault: Fault::MasterFirst,
            ..Case::good(Scenario::Storm, Http)
        },
        Case {
            fault: Fault::RefusesLate,
            ..Case::good(Scenario::Storm, Ws)
        },
        Case {
            fault: Fault::RefusesLate,
            ..Case::good(Scenario::Flood, Ws)
        },
        Case {
            is_tls: true,
            fault: Fault::RefusesLate,
            ..Case::good(Scenario::Storm, Http)
        },
    ]
}
