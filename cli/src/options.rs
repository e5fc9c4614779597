//! Options that say how the server runs and what is asked of it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as Group, ValueEnum};

use crate::client::Target;
use crate::client::target::{OwnRequest, Statuses};
use crate::client::tls::{Tls, Trust};
use crate::setup::{Failure, Launch, Protocol, Restart, StartStop};
use crate::signal::StopSignal;
use crate::values::{address, time, unix_socket};

/// The protocols whose requests have a body.
pub(crate) const HTTP: [Protocol; 2] = [Protocol::Http, Protocol::H2];

/// The protocols whose requests, or whose handshake, have a path and headers.
const WITH_HEAD: [Protocol; 3] = [Protocol::Http, Protocol::H2, Protocol::Ws];

/// The standard input of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stdin {
    /// It is at its end from the start
    Null,
    /// It stays open: for servers that stop when it ends
    Open,
}

/// How the server runs.
#[derive(Clone, Debug, Group)]
pub(crate) struct Run {
    /// The signal that stops it: a name, such as TERM, WINCH or RTMIN+3, or a number
    #[arg(
        long,
        default_value = "TERM",
        value_name = "NAME",
        conflicts_with = "start"
    )]
    pub(crate) signal: StopSignal,
    /// The command that starts the server and returns, for servers that are no child:
    /// "docker compose up -d"
    #[arg(long, value_name = "COMMAND", requires_all = ["stop", "ready"], conflicts_with_all = ["attach", "command"])]
    pub(crate) start: Option<String>,
    /// The command that stops it
    #[arg(long, value_name = "COMMAND", requires = "start")]
    pub(crate) stop: Option<String>,
    /// Where the server answers, if that is not {addr}: HOST:PORT, or a URL; its path
    /// is asked until it gives status 2xx
    #[arg(long, value_name = "URL")]
    pub(crate) ready: Option<String>,
    /// Check a process that runs already: one scenario, one round
    #[arg(
        long,
        value_name = "PID",
        value_parser = clap::value_parser!(i32).range(1..),
        requires = "address",
        conflicts_with = "command"
    )]
    pub(crate) attach: Option<i32>,
    /// Where that process listens
    #[arg(long, value_name = "IP:PORT", value_parser = address, requires = "attach")]
    pub(crate) address: Option<SocketAddr>,
    /// The standard input of the server
    #[arg(
        long,
        value_enum,
        default_value_t = Stdin::Null,
        conflicts_with_all = ["start", "attach"]
    )]
    pub(crate) stdin: Stdin,
    /// The exit statuses of a good stop
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(i32).range(0..=255),
        conflicts_with_all = ["start", "attach"]
    )]
    pub(crate) exit_status: Vec<i32>,
    /// The signal that makes it restart without a stop, for the scenario restart
    #[arg(long, value_name = "NAME", conflicts_with_all = ["restart_command", "start"])]
    pub(crate) restart_signal: Option<StopSignal>,
    /// The command that makes it restart; {pid} is the server's process
    #[arg(long, value_name = "COMMAND")]
    pub(crate) restart_command: Option<String>,
    /// How long it is frozen in the scenario frozen-in-the-drain; longer than its
    /// grace period is the case that breaks servers
    #[arg(long, value_parser = time, default_value = "2s", value_name = "TIME")]
    pub(crate) freeze: Duration,
}

impl Run {
    /// Returns how the server comes to run.
    pub(crate) fn launch(
        &self,
        command: &[String],
        directory: Option<&Path>,
        ready: &Ready,
    ) -> Result<Launch, Failure> {
        Ok(match (&self.start, &self.stop, self.attach, self.address) {
            (Some(start), Some(stop), ..) => Launch::Commands(StartStop {
                start: start.clone(),
                stop: stop.clone(),
                address: ready
                    .address
                    .ok_or_else(|| Failure::Other("--ready needs HOST:PORT".to_owned()))?,
            }),
            (_, _, Some(pid), Some(address)) => Launch::Attached { pid, address },
            _ => Launch::Child {
                command: command.to_vec(),
                directory: directory.map(Path::to_owned),
                stdin_open: self.stdin == Stdin::Open,
            },
        })
    }

    /// Returns where the server says whether it is ready.
    pub(crate) fn ready(&self, protocol: Protocol) -> Result<Ready, Failure> {
        let ready = self.ready.as_deref().map(Ready::parse).transpose()?;
        let ready = ready.unwrap_or_default();
        must_fit("a path in --ready", ready.path.is_some(), &HTTP, protocol)?;
        Ok(ready)
    }

    pub(crate) fn restart(&self) -> Result<Option<Restart>, Failure> {
        if self.restart_signal == Some(self.signal) {
            let signal = self.signal;
            return Err(Failure::Other(format!(
                "{signal} cannot both stop the server and restart it: say another --signal or \
                 --restart-signal"
            )));
        }
        let command = self.restart_command.clone().map(Restart::Command);
        Ok(command.or(self.restart_signal.map(Restart::Signal)))
    }
}

/// What `--ready` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) path: Option<String>,
}

impl Ready {
    /// Reads HOST:PORT, http://HOST:PORT/PATH, or only /PATH.
    fn parse(text: &str) -> Result<Ready, Failure> {
        let failed = |why: &str| Failure::Other(format!("--ready {text:?}: {why}"));
        if let Some(problem) = unix_socket(text) {
            return Err(failed(&problem));
        }
        let (rest, default_port) =
            match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
                (Some(rest), _) => (rest, Some(80)),
                (_, Some(rest)) => (rest, Some(443)),
                _ => (text, None),
            };
        let (host, path) = match rest.find('/') {
            Some(at) => (rest.get(..at), rest.get(at..)),
            None => (Some(rest), None),
        };
        let host = host.unwrap_or_default();
        if host.is_empty() && path.is_some() {
            let path = path.map(str::to_owned);
            return Ok(Ready {
                address: None,
                path,
            });
        }
        if host.contains('{') {
            return Err(failed(
                "only a COMMAND has placeholders; say the path alone, such as /healthz, for \
                 the address that the server is given",
            ));
        }
        let full = match (host.rsplit_once(':'), default_port) {
            (Some((_, port)), _) if port.parse::<NonZeroU16>().is_ok() => host.to_owned(),
            (_, Some(port)) => format!("{host}:{port}"),
            _ => return Err(failed("it is no HOST:PORT and no URL")),
        };
        let addresses = std::net::ToSocketAddrs::to_socket_addrs(&full);
        let mut addresses = addresses.map_err(|error| failed(&error.to_string()))?;
        let address = addresses
            .next()
            .ok_or_else(|| failed("it has no address"))?;
        Ok(Ready {
            address: Some(address),
            path: path.map(str::to_owned),
        })
    }
}

/// What clients ask, and what a good answer is.
#[derive(Clone, Debug, Default, Group)]
pub(crate) struct Asking {
    /// The path of HTTP requests
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// What to send instead: "POST /orders" with HTTP; the text of lines, redis, ws
    #[arg(long, value_name = "TEXT")]
    pub(crate) request: Option<String>,
    /// The body of that request; @FILE reads it from a file
    #[arg(long, value_name = "TEXT", requires = "request")]
    pub(crate) body: Option<String>,
    /// A header of every HTTP request; repeatable
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// A good answer: statuses of HTTP, such as 200 or 2xx, or how a line begins
    /// [default: any but 408 and 5xx; any line]
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(crate) expect: Vec<String>,
    /// Speak TLS
    #[arg(long)]
    pub(crate) tls: bool,
    /// Do not verify the certificate
    #[arg(long, requires = "tls", conflicts_with = "ca")]
    pub(crate) insecure: bool,
    /// Trust the certificates of this PEM file [default: those of the system]
    #[arg(long, requires = "tls", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The name in the certificate [default: localhost, or the host of --address]
    #[arg(long, requires = "tls", value_name = "NAME")]
    pub(crate) server_name: Option<String>,
}

impl Asking {
    /// Returns what clients send to a server whose address is not known yet.
    pub(crate) fn target(&self, host: IpAddr, protocol: Protocol) -> Result<Target, Failure> {
        let failed = |text: String| Failure::Other(text);
        must_fit("--path", self.path != "/", &WITH_HEAD, protocol)?;
        must_fit("--header", !self.header.is_empty(), &WITH_HEAD, protocol)?;
        must_fit("--body", self.body.is_some(), &HTTP, protocol)?;
        if !is_path(&self.path) {
            let path = &self.path;
            return Err(failed(format!("--path {path:?} is no path, such as \"/\"")));
        }
        let mut target = Target {
            path: self.path.clone(),
            own: self.own(protocol)?,
            tls: self.tls(protocol)?,
            ..Target::new(SocketAddr::new(host, 0), protocol)
        };
        for header in &self.header {
            let pair = header.split_once(':');
            let (name, value) =
                pair.ok_or_else(|| failed(format!("--header {header:?} has no colon")))?;
            let pair = (name.trim().to_owned(), value.trim().to_owned());
            if pair.0.is_empty() || header.contains(['\r', '\n']) {
                return Err(failed(format!("--header {header:?} is no header")));
            }
            target.headers.push(pair);
        }
        for text in &self.expect {
            match (protocol, Statuses::parse(text)) {
                (Protocol::Lines, _) => target.expected_text.push(text.clone()),
                (_, Some(statuses)) if protocol.is_http() => target.expected.push(statuses),
                _ => {
                    let text =
                        format!("--expect {text:?} is no status, and {protocol} has none");
                    return Err(failed(text));
                }
            }
        }
        Ok(target)
    }

    fn own(&self, protocol: Protocol) -> Result<Option<OwnRequest>, Failure> {
        let Some(text) = &self.request else {
            return Ok(None);
        };
        let body = self.body()?;
        if protocol == Protocol::Echo {
            let problem = "is not for echo, whose messages are made up";
            return Err(Failure::Other(format!("--request {text:?} {problem}")));
        }
        if protocol == Protocol::Lines && text.contains(['\r', '\n']) {
            let problem = format!("--request {text:?} is more than a line");
            return Err(Failure::Other(problem));
        }
        if !protocol.is_http() {
            return Ok(Some(OwnRequest {
                method: String::new(),
                path: text.clone(),
                body,
            }));
        }
        let (method, path) = method_and_path("--request", text)?;
        Ok(Some(OwnRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            body,
        }))
    }

    /// Returns the request that `--large-path` stands for.
    pub(crate) fn large(
        &self,
        text: Option<&str>,
        protocol: Protocol,
    ) -> Result<Option<OwnRequest>, Failure> {
        let Some(text) = text else {
            return Ok(None);
        };
        must_fit("--large-path", true, &HTTP, protocol)?;
        let (method, path) = method_and_path("--large-path", text)?;
        Ok(Some(match method {
            "GET" => OwnRequest::get(path),
            method => OwnRequest {
                method: method.to_owned(),
                path: path.to_owned(),
                body: self.body()?,
            },
        }))
    }

    fn body(&self) -> Result<Vec<u8>, Failure> {
        let body = self.body.as_deref();
        match body.map(|body| (body, body.strip_prefix('@'))) {
            None => Ok(Vec::new()),
            Some((_, Some(path))) => std::fs::read(path)
                .map_err(|error| Failure::Other(format!("--body @{path}: {error}"))),
            Some((body, None)) => Ok(body.as_bytes().to_vec()),
        }
    }

    fn tls(&self, protocol: Protocol) -> Result<Option<Tls>, Failure> {
        if !self.tls {
            return Ok(None);
        }
        let trust = match (&self.ca, self.insecure) {
            (_, true) => Trust::Anybody,
            (Some(path), _) => Trust::File(path),
            (None, _) => Trust::System,
        };
        let protocols = protocol.alpn();
        let name = self.server_name.as_deref().unwrap_or("localhost");
        let tls = Tls::new(&trust, name, protocols.as_slice());
        tls.map(Some).map_err(Failure::Other)
    }
}

/// Refuses an option for which the protocol has no use.
///
/// # Errors
/// It is given, and the protocol is none of `fitting`.
pub(crate) fn must_fit(
    option: &str,
    is_given: bool,
    fitting: &[Protocol],
    protocol: Protocol,
) -> Result<(), Failure> {
    if !is_given || fitting.contains(&protocol) {
        return Ok(());
    }
    let names: Vec<String> = fitting.iter().map(Protocol::to_string).collect();
    Err(Failure::Other(format!(
        "{option} is for {}, and the protocol is {protocol}: leave it out, or say the right \
         --protocol",
        names.join(", ")
    )))
}

/// Says whether a request line can hold it (RFC 9112 section 3.2.1).
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads "GET /path", or only the path.
fn method_and_path<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let (method, path) = match text.split_once(' ') {
        Some((method, path)) => (method, path.trim()),
        None => ("GET", text),
    };
    let is_token = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    if !is_token || !is_path(path) {
        let text = format!("{option} {text:?} is no method and path, such as \"GET /\"");
        return Err(Failure::Other(text));
    }
    Ok((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_an_address_a_url_or_a_path() {
        let ready = |text: &str| Ready::parse(text).ok().map(|r| (r.address, r.path));
        let address = "127.0.0.1:80".parse().ok();
        assert_eq!(ready("127.0.0.1:80"), Some((address, None)));
        let path = Some("/health".to_owned());
        assert_eq!(
            ready("http://127.0.0.1/health"),
            Some((address, path.clone()))
        );
        assert_eq!(ready("/health"), Some((None, path)));
        assert_eq!(ready("nonsense"), None);
        assert_eq!(ready("127.0.0.1:0"), None);
    }

    #[test]
    fn an_address_that_is_not_known_yet_is_no_place_to_ask() {
        for text in [
            "http://{addr}/health",
            "{host}:{port}",
            "http://[::1]:{port}/",
        ] {
            let refused = Ready::parse(text).err().map(|error| error.to_string());
            let refused = refused.unwrap_or_default();
            assert!(refused.contains("say the path alone"), "{text}: {refused}");
        }
    }
}
