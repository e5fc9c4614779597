//! How a server treats requests and connections while nothing is wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use super::{not_ready, spoken};
use crate::client::{Connection, End, Journal, Request, Response, Target};
use crate::greeting;
use crate::server::Server;
use crate::setup::{Failure, Traits};

/// A server that ends the connection after an answer does so within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// How long the answer to the first POST may take.
const FIRST_POST: Duration = Duration::from_secs(1);

/// Finds out how the server treats requests and connections while nothing is wrong.
pub(super) async fn study(target: &Target, server: &mut Server) -> Result<Traits, Failure> {
    let mut target = Arc::new(target.clone());
    let greeting = greeting::learn(&target).await;
    Arc::make_mut(&mut target).greeting = greeting.count;
    let mut traits = Traits {
        keeps: true,
        greeting,
        notes: greeting.note(target.protocol).into_iter().collect(),
        ..Traits::default()
    };
    let first = target.request(0, 0);
    let Some(Tried {
        response,
        answer_time,
        is_open,
    }) = try_again(&target, &first, AT_ONCE).await
    else {
        return Err(not_ready(
            server,
            "its first answer is its last one".to_owned(),
        ));
    };
    if response.status == 400
        && target.expected.is_empty()
        && spoken::is_behind_tls(&target).await
    {
        let options = spoken::WITH_TLS;
        let problem = format!("it answers with status 400, and speaks TLS: say {options}");
        return Err(not_ready(server, problem));
    }
    traits.answer_time = answer_time;
    traits.usual.push(response.status);
    traits.usual_grpc = response.grpc;
    traits.keeps = is_open;
    if !is_open && !response.closes {
        traits.notes.push(
            "it ends connections after an answer that does not say so \
             (RFC 9112 section 9.6: it should)"
                .to_owned(),
        );
    }
    if target.protocol.is_http() && target.own.is_none() {
        let answer_time = try_post(&target).await;
        traits.posts = answer_time.is_some();
        // It may be the slower one of the two.
        traits.answer_time = traits.answer_time.max(answer_time.unwrap_or_default());
    }
    traits.notes.extend(unusual(&target, response.status));
    if let Some(status @ 1..) = response.grpc {
        traits.notes.push(format!(
            "it answers with grpc-status {status} while nothing is wrong"
        ));
    }
    Ok(traits)
}

/// Returns how long a server takes to answer POST, if it takes it.
async fn try_post(target: &Arc<Target>) -> Option<Duration> {
    let post = target.post(0, 1);
    let answer = try_again(target, &post, Duration::ZERO);
    let late = async {
        Timer::after(FIRST_POST).await;
        None
    };
    // Many servers refuse POST, some with a reset: that is not ours to judge.
    let tried = answer.or(late).await?;
    (tried.response.status < 400).then_some(tried.answer_time)
}

/// Says so if what clients ask for is answered with an error or a redirect throughout:
/// the stop is judged by little then.
fn unusual(target: &Target, status: u16) -> Option<String> {
    if !target.protocol.is_http() || !target.expected.is_empty() || status / 100 == 2 {
        return None;
    }
    let option = match target.own {
        Some(_) => "--request",
        None => "--path",
    };
    let mut note = format!(
        "it answers with status {status} while nothing is wrong, too: {option} can name what \
         has a better answer, and --expect what a good one is"
    );
    if status >= 500 {
        note += "; where it is only not ready yet, --ready PATH can name what gives 2xx once it \
                 is";
    }
    Some(note)
}

/// The answer to one request, and how it came.
pub(super) struct Tried {
    pub(super) response: Response,
    answer_time: Duration,
    /// Whether the connection was still open some time later.
    is_open: bool,
}

/// An answer that takes so long may have been delayed by a busy machine.
const DELAYED: Duration = Duration::from_millis(20);

/// One that takes longer is the server's own work.
const SLOW: Duration = Duration::from_millis(500);

/// How often the time of an answer is measured then.
const MEASURED: usize = 3;

/// The same as `try_request`, with the shortest time of several answers, where the first
/// one may have been delayed.
async fn try_again(
    target: &Arc<Target>,
    request: &Request,
    patience: Duration,
) -> Option<Tried> {
    let mut tried = try_request(target, request, patience).await?;
    for _ in 1..MEASURED {
        if !(DELAYED..SLOW).contains(&tried.answer_time) {
            break;
        }
        let again = try_request(target, request, Duration::ZERO).await?;
        tried.answer_time = tried.answer_time.min(again.answer_time);
    }
    Some(tried)
}

/// Sends a request, and looks at its connection for some time.
pub(super) async fn try_request(
    target: &Arc<Target>,
    request: &Request,
    patience: Duration,
) -> Option<Tried> {
    let journal = Journal::new();
    let mut connection = Connection::open(target, &journal).await.ok()?;
    let begun = Instant::now();
    let response = connection.exchange(request).await.ok()?;
    let answer_time = begun.elapsed();
    if response.closes {
        connection.leave();
        return Some(Tried {
            response,
            answer_time,
            is_open: false,
        });
    }
    let ended = async {
        connection.until_end().await;
        false
    };
    let stays = async {
        Timer::after(patience).await;
        true
    };
    let is_open = ended.or(stays).await && journal.lock().current.end == End::Open;
    connection.leave();
    Some(Tried {
        response,
        answer_time,
        is_open,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::setup::Protocol;

    #[test]
    fn an_error_that_lasts_is_told_with_the_option_that_waits_for_better() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let target = Target::new(address, Protocol::Http);
        let error = unusual(&target, 502).unwrap();
        assert!(error.contains("--ready PATH"), "{error}");
        let redirect = unusual(&target, 302).unwrap();
        assert!(!redirect.contains("--ready"), "{redirect}");
        assert_eq!(unusual(&target, 204), None);
    }
}
