//! Finds the protocol of a server that does not answer in the one that it was asked in.

use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use super::study::try_request;
use crate::client::Target;
use crate::client::tls::{Tls, Trust};
use crate::setup::Protocol;

/// How long a server may take to answer in a protocol that is only tried.
const PATIENCE: Duration = Duration::from_secs(2);

/// The options for a server that speaks TLS.
pub(super) const WITH_TLS: &str = "--tls, with --ca FILE or --insecure";

/// Tries other protocols, and returns what to say for the one that is answered, or that
/// none is.
pub(super) async fn hint(target: &Target) -> String {
    let (protocol, is_tls) = (target.protocol, target.tls.is_some());
    let others = [Protocol::Http, Protocol::H2, Protocol::Echo];
    let others = others.into_iter().filter(|other| *other != protocol);
    let same_tls = others.clone().map(|other| (other, is_tls));
    let other_tls = [protocol].into_iter().chain(others);
    let other_tls = other_tls.map(|other| (other, !is_tls));
    for (other, is_tls) in same_tls.chain(other_tls) {
        if is_answered(target, other, is_tls).await {
            return advice(target, other, is_tls);
        }
    }
    let all: Vec<String> = Protocol::ALL.iter().map(Protocol::to_string).collect();
    format!(
        "it answers no other protocol that was tried, either: --protocol has to name what it \
         speaks, of {}",
        all.join(", ")
    )
}

/// Returns whether a server that refuses plain HTTP does so because it speaks TLS.
pub(super) async fn is_behind_tls(target: &Target) -> bool {
    target.tls.is_none() && is_answered(target, target.protocol, true).await
}

async fn is_answered(target: &Target, protocol: Protocol, is_tls: bool) -> bool {
    let names = protocol.alpn();
    let tls = is_tls.then(|| Tls::new(&Trust::Anybody, "localhost", names.as_slice()));
    let Ok(tls) = tls.transpose() else {
        return false;
    };
    let other = Arc::new(Target {
        protocol,
        tls,
        own: None,
        ..target.clone()
    });
    let answered = async {
        let request = other.request(0, 0);
        let tried = try_request(&other, &request, Duration::ZERO).await;
        // 400 is also what a server of TLS says to a client without it.
        tried.is_some_and(|tried| is_tls || tried.response.status != 400)
    };
    let late = async {
        Timer::after(PATIENCE).await;
        false
    };
    answered.or(late).await
}

fn advice(target: &Target, protocol: Protocol, is_tls: bool) -> String {
    let mut options = Vec::new();
    if protocol != target.protocol {
        options.push(format!("--protocol {protocol}"));
    }
    match (target.tls.is_some(), is_tls) {
        (false, true) => options.push(WITH_TLS.to_owned()),
        (true, false) => options.push("no --tls".to_owned()),
        _ => {}
    }
    let over = if is_tls { " over TLS" } else { "" };
    let options = options.join(" and ");
    format!("it answers {protocol}{over}: say {options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL does: a request of another protocol is no message that it can read.
    #[test]
    fn of_a_server_that_answers_nobody_it_is_said_what_can_be_named() {
        let hint = smol::block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let end_all = async {
                while let Ok((stream, _)) = listener.accept().await {
                    drop(stream);
                }
                String::new()
            };
            let target = Target::new(address, Protocol::Lines);
            hint(&target).or(end_all).await
        });
        let told = "--protocol has to name what it speaks, of echo, lines, redis, http, h2, ws";
        assert!(hint.ends_with(told), "{hint}");
    }
}
