//! When a server is ready: when it gave an answer.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use crate::child::Server;
use crate::client::{Connection, End, Journal, Target};
use crate::setup::{Failure, Protocol, Setup};

/// Waits until the server answers, or until it is clear that it will not.
pub(crate) async fn wait(setup: &Setup, server: &mut Server) -> Result<Target, Failure> {
    let mut target = Target {
        address: server.address,
        protocol: setup.protocol,
        path: setup.path.clone(),
        large_path: setup.large_path.clone(),
        posts: false,
    };
    let deadline = Instant::now() + setup.ready_timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let problem = match attempt(&target, server, left).await {
            Attempt::Answered => break,
            Attempt::Ended => return Err(server.died()),
            Attempt::Failed(problem) => problem,
            // Whatever this is, waiting does not make it an answer.
            Attempt::Garbled(problem) => return Err(not_ready(server, problem)),
        };
        if Instant::now() >= deadline {
            let after = humantime::format_duration(setup.ready_timeout);
            return Err(not_ready(server, format!("{problem} (for {after})")));
        }
        Timer::after(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    if setup.protocol == Protocol::Http {
        target.posts = takes_post(&target).await;
    }
    Ok(target)
}

enum Attempt {
    Answered,
    Ended,
    Failed(String),
    Garbled(String),
}

async fn attempt(target: &Target, server: &mut Server, limit: Duration) -> Attempt {
    let record = Journal::new();
    let address = target.address;
    let exchange = async {
        if let Ok(mut connection) = Connection::open(target, &record).await
            && connection.exchange(&target.request(0, 0)).await.is_ok()
        {
            connection.leave();
            return Attempt::Answered;
        }
        let account = record.lock();
        let protocol = target.protocol;
        match &account.current.end {
            End::Garbled(problem) => {
                Attempt::Garbled(format!("it does not speak {protocol}: {problem}"))
            }
            End::Refused(problem) => {
                Attempt::Failed(format!("nobody listens on {address}: {problem}"))
            }
            _ => Attempt::Failed("it ends connections without an answer".to_owned()),
        }
    };
    let ended = async {
        server.ended().await;
        Attempt::Ended
    };
    let late = async {
        Timer::after(limit).await;
        Attempt::Failed(match record.lock().current.connected {
            Some(_) => "it accepts connections and does not answer".to_owned(),
            None => format!("nobody listens on {address}"),
        })
    };
    ended.or(exchange).or(late).await
}

/// Many servers refuse POST, some with a reset: that is not ours to judge.
async fn takes_post(target: &Target) -> bool {
    let record = Journal::new();
    let post = async {
        let mut connection = Connection::open(target, &record).await.ok()?;
        let response = connection.exchange(&target.post(0, 1)).await.ok()??;
        connection.leave();
        Some(response.status < 400)
    };
    let late = async {
        Timer::after(Duration::from_secs(1)).await;
        None
    };
    post.or(late).await.unwrap_or(false)
}

fn not_ready(server: &Server, problem: String) -> Failure {
    Failure::NotReady {
        problem,
        output: server.output(),
    }
}
