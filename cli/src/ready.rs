//! A server is ready when it has answered.

mod spoken;
mod study;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::client::target::Statuses;
use crate::client::tls::UNTRUSTED;
use crate::client::{Connection, End, Journal, Request, Target};
use crate::greeting::GRACE;
use crate::server::Server;
use crate::setup::{Failure, Setup};
use crate::values::over_tcp;

/// The end of a message about an answer that the user does not expect.
const UNEXPECTED: &str = "which --expect does not name";

/// A server that still answers with an error of its own after this time does so always, as
/// far as one can know.
const STARTING: Duration = Duration::from_secs(1);

/// Waits until the server answers, or until it is clear that it will not.
pub(crate) async fn wait(setup: &Setup, server: &mut Server) -> Result<Target, Failure> {
    let mut target = Target {
        address: server.address,
        ..setup.model.clone()
    };
    let known = setup.known_traits();
    if let Some(traits) = &known {
        target.apply(traits);
    }
    let mut attempt = Attempt::new(setup, &target);
    if known.is_none() && !target.expected_text.is_empty() {
        attempt.grace = GRACE;
    }
    until_answered(server, attempt, setup.ready_timeout).await?;
    if known.is_none() {
        let traits = study::study(&target, server).await?;
        target.apply(&traits);
        setup.learn(traits);
    }
    Ok(target)
}

/// Asks until a good answer comes.
async fn until_answered(
    server: &mut Server,
    mut attempt: Attempt,
    limit: Duration,
) -> Result<(), Failure> {
    let target = attempt.target.clone();
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    let mut last = None;
    let mut signs = Signs::default();
    // Since when it answers with an error of its own.
    let mut poor_since = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = attempt.run(server, left).await;
        if matches!(outcome, Outcome::Failed(_) | Outcome::Unanswered) {
            // A greeting can take longer, and look like a wrong answer.
            attempt.grace *= 2;
        }
        let was_refused = signs.was_refused;
        signs.add(&outcome);
        let problem = match outcome {
            Outcome::Answered => return Ok(()),
            // A proxy whose upstream is not up yet: what it says now is not its usual answer.
            Outcome::Poor => {
                let since = *poor_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STARTING || Instant::now() >= deadline {
                    return Ok(());
                }
                "it answers with an error".to_owned()
            }
            Outcome::Ended => return Err(server.died()),
            Outcome::Failed(problem) | Outcome::Refused(problem) => problem,
            Outcome::Unanswered => "it ends connections without an answer".to_owned(),
            // What an earlier attempt found says more than that time ran out.
            Outcome::Late(problem) => last.take().unwrap_or(problem),
            // That it listens by now says more than that it did not before.
            Outcome::Silent(problem) if was_refused => problem,
            Outcome::Silent(problem) => last.take().unwrap_or(problem),
            // Whatever this is, waiting does not make it an answer.
            Outcome::Garbled(problem) => {
                return Err(not_understood(server, &target, problem).await);
            }
        };
        if Instant::now() >= deadline {
            let problem = format!("{problem} (for {})", humantime::format_duration(limit));
            return Err(match signs.is_mute {
                true => not_understood(server, &target, problem).await,
                false if signs.is_elsewhere => not_here(server, problem, attempt.is_told),
                false => not_ready(server, problem),
            });
        }
        last = Some(problem);
        Timer::after(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The signs that the attempts so far have given of a server without a good answer.
#[derive(Default)]
struct Signs {
    /// Nobody listened at the last attempt.
    was_refused: bool,
    /// It takes connections, and says nothing.
    is_mute: bool,
    /// It has given an answer, if not a good one: it speaks the protocol.
    has_answered: bool,
    /// It does not listen where it should.
    is_elsewhere: bool,
}

impl Signs {
    fn add(&mut self, outcome: &Outcome) {
        let is_refused = matches!(outcome, Outcome::Refused(_));
        // A server that accepts listens where it should, whatever came before.
        self.is_elsewhere =
            is_refused || self.was_refused && matches!(outcome, Outcome::Late(_));
        self.has_answered |= matches!(outcome, Outcome::Failed(_) | Outcome::Poor);
        self.is_mute = match outcome {
            Outcome::Unanswered | Outcome::Silent(_) => !self.has_answered,
            Outcome::Late(_) => self.is_mute,
            _ => false,
        };
        self.was_refused = is_refused;
    }
}

/// The outcome of one attempt to reach the server.
enum Outcome {
    Answered,
    /// The status says that the server could not answer.
    Poor,
    Ended,
    Failed(String),
    /// It ended the connection.
    Unanswered,
    /// Nobody listens.
    Refused(String),
    /// It listens, and no answer came in time.
    Silent(String),
    /// No connection was there in time.
    Late(String),
    /// The bytes that came are no answer, and no more bytes can make them one.
    Garbled(String),
}

/// What is asked to see whether the server is ready.
struct Attempt {
    target: Arc<Target>,
    request: Request,
    /// Only these statuses say that it is.
    wanted: Option<Statuses>,
    /// The server is told where to listen, each time.
    is_told: bool,
    /// How long it is waited for a greeting, which is not to be taken for the answer.
    grace: Duration,
}

impl Attempt {
    fn new(setup: &Setup, target: &Target) -> Attempt {
        let request = match &setup.ready_path {
            Some(path) => target.get(path),
            None => target.request(0, 0),
        };
        let wanted = setup.ready_path.as_ref();
        Attempt {
            target: Arc::new(target.clone()),
            request,
            wanted: wanted.and_then(|_| Statuses::parse("2xx")),
            is_told: setup.fixed.is_none(),
            grace: Duration::ZERO,
        }
    }

    async fn run(&self, server: &mut Server, limit: Duration) -> Outcome {
        let journal = Journal::new();
        let ended = async {
            server.ended().await;
            Outcome::Ended
        };
        let late = async {
            Timer::after(limit).await;
            if let Some(problem) = self.endless(&journal) {
                return Outcome::Silent(problem);
            }
            let is_connected = journal.lock().current.connected.is_some();
            match (is_connected, &self.target.tls) {
                (true, Some(_)) => {
                    let problem = "it accepts connections and does not answer over TLS";
                    Outcome::Silent(problem.to_owned())
                }
                (true, None) => {
                    let problem = "it accepts connections and does not answer";
                    Outcome::Silent(problem.to_owned())
                }
                (false, _) => {
                    Outcome::Late(format!("nobody listens on {}", self.target.address))
                }
            }
        };
        ended.or(self.exchange(&journal)).or(late).await
    }

    /// Returns what is wrong with an answer that has begun, and whose end does not come.
    fn endless(&self, journal: &Journal) -> Option<String> {
        let unanswered = &journal.lock().current.unanswered;
        unanswered.iter().find(|message| message.received > 0)?;
        let label = &self.request.label;
        let option = match (&self.wanted, &self.target.own) {
            (Some(_), _) => "--ready",
            (None, Some(_)) => "--request",
            (None, None) => "--path",
        };
        let hint = match self.target.protocol.is_http() {
            true => format!(": choose another one with {option}"),
            false => String::new(),
        };
        Some(format!(
            "its answer to {label} has begun and does not end{hint}"
        ))
    }

    /// Returns what is wrong with an answer, where the user said what a good one is.
    fn disappointment(&self, journal: &Journal, status: u16) -> Option<String> {
        let label = &self.request.label;
        let is_named = !self.target.expected.is_empty();
        if self.wanted.is_none() && is_named && !self.target.is_expected(status) {
            return Some(format!("{label} gives status {status}, {UNEXPECTED}"));
        }
        let wrong = &journal.lock().current.unanswered;
        let problem = wrong.front().and_then(|message| message.problem.clone());
        let problem = problem.filter(|_| !self.target.protocol.is_http())?;
        Some(match self.target.expected_text.is_empty() {
            true => format!("{label}: {problem}"),
            false => format!("{label}: {problem}, {UNEXPECTED}"),
        })
    }

    async fn exchange(&self, journal: &Journal) -> Outcome {
        if let Ok(mut connection) = Connection::open(&self.target, journal).await
            && (self.grace.is_zero() || connection.listen(self.grace).await.is_ok())
            && let Ok(response) = connection.exchange(&self.request).await
        {
            connection.leave();
            let status = response.status;
            if let Some(problem) = self.disappointment(journal, status) {
                return Outcome::Failed(problem);
            }
            return match self.wanted {
                Some(wanted) if !wanted.contains(status) => {
                    Outcome::Failed(format!("{} gives status {status}", self.request.path))
                }
                None if status >= 500 && !self.target.is_expected(status) => Outcome::Poor,
                _ => Outcome::Answered,
            };
        }
        let protocol = self.target.protocol;
        match &journal.lock().current.end {
            End::Garbled(problem) if problem.starts_with(UNTRUSTED) => {
                Outcome::Garbled(problem.clone())
            }
            End::Garbled(problem) => {
                Outcome::Garbled(format!("it does not speak {protocol}: {problem}"))
            }
            End::Refused(problem) => Outcome::Refused(format!(
                "nobody listens on {}: {problem}",
                self.target.address
            )),
            _ => Outcome::Unanswered,
        }
    }
}

/// Returns what is to be said of a server that may speak something else.
async fn not_understood(server: &Server, target: &Target, problem: String) -> Failure {
    if problem.starts_with(UNTRUSTED) {
        return not_ready(server, problem);
    }
    let hint = spoken::hint(target).await;
    not_ready(server, format!("{problem}; {hint}"))
}

/// Returns what is to be said of a server that does not listen where it should.
fn not_here(server: &Server, problem: String, is_told: bool) -> Failure {
    let hint = match (
        server.elsewhere().as_slice(),
        server.unix_listeners().first(),
    ) {
        (addresses @ [first, ..], _) => {
            let words: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            let same_port = addresses.iter().find(|a| a.port() == server.address.port());
            let option = match same_port.and_then(|address| loopback(address.ip())) {
                Some(host) if is_told => format!("--host {host}"),
                _ => format!("--ready {first}, or have it listen on {}", server.address),
            };
            format!(", and it listens on {}: say {option}", words.join(", "))
        }
        ([], Some(path)) => {
            let cure = over_tcp(path);
            format!(", and it listens on the Unix socket {path}, {cure}")
        }
        ([], None) => "; --ready-timeout allows a longer start".to_owned(),
    };
    not_ready(server, problem + &hint)
}

/// Returns the address of this machine alone at which a listener is reached, if it is.
fn loopback(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
        ip => ip.is_loopback().then_some(ip),
    }
}

/// Returns what is to be said of a server that cannot be checked, with what it printed.
fn not_ready(server: &Server, problem: String) -> Failure {
    Failure::NotReady {
        problem,
        output: server.output(),
    }
}
