//! The clients that keep the load on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::FutureExt;

use super::link::{IdleEnd, Link};
use super::options::{Pace, Reuse};
use super::tally::{Loss, LossKind, Sample, SharedTally};
use crate::client::{Response, Target};
use crate::latch::Latch;

/// After a loss, where nothing else slows a client down.
const PAUSE: Duration = Duration::from_millis(20);

/// The methods that may be repeated (RFC 9110, section 9.2.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// What all clients of a load have in common.
pub(super) struct Load {
    pub(super) target: Arc<Target>,
    pub(super) pace: Pace,
    pub(super) reuse: Reuse,
    pub(super) retry: bool,
    pub(super) timeout: Duration,
    pub(super) begun: Instant,
    pub(super) tally: SharedTally,
    pub(super) stop: Latch,
}

/// One client: sends a request, waits for its answer, and so on until the stop.
pub(super) async fn client(load: Arc<Load>, id: usize) {
    let keeps = match load.reuse {
        Reuse::Half => id.is_multiple_of(2),
        Reuse::Always => true,
        Reuse::Never => false,
    };
    let mut client = Client {
        load,
        id,
        keeps,
        link: None,
    };
    let mut number = 0;
    loop {
        let due = client.due(number);
        if !client.wait(due).await {
            return;
        }
        client
            .request(due.unwrap_or_else(Instant::now), number)
            .await;
        number += 1;
    }
}

/// Sends one request, and says what came of it: the proof that the address answers.
pub(super) async fn probe(target: &Arc<Target>, timeout: Duration) -> Result<Response, Loss> {
    let exchange = async {
        let mut link = Link::open(target).await?;
        let response = link.exchange(&target.request(0, 0)).await?;
        link.close();
        Ok(response)
    };
    exchange.or(too_late(timeout)).await
}

struct Client {
    load: Arc<Load>,
    id: usize,
    keeps: bool,
    link: Option<Link>,
}

impl Client {
    /// When a request is to be sent; none: at once.
    fn due(&self, number: u64) -> Option<Instant> {
        let rate = self.load.pace.rate?;
        // The clients take turns, so that all of them together keep the rate.
        let place = number as f64 * self.load.pace.clients as f64 + self.id as f64;
        let after = Duration::try_from_secs_f64(place / rate).unwrap_or(Duration::MAX);
        // What is too far away never comes.
        self.load.begun.checked_add(after).or(Some(self.load.begun))
    }

    /// Waits until a request is due; false: it is the stop that came.
    async fn wait(&mut self, due: Option<Instant>) -> bool {
        if self.load.stop.happened() {
            return false;
        }
        let Some(due) = due else {
            return true;
        };
        let load = self.load.clone();
        loop {
            let stopped = async {
                load.stop.wait().await;
                Woken::Stopped
            };
            let is_due = async {
                Timer::at(due).await;
                Woken::Due
            };
            let stirred = async {
                match &mut self.link {
                    Some(link) => link.stirred().await,
                    None => std::future::pending().await,
                }
                Woken::Stirred
            };
            match stopped.or(is_due).or(stirred).await {
                Woken::Stopped => return false,
                Woken::Due => return true,
                Woken::Stirred => self.look().await,
            }
        }
    }

    /// Takes what has come on the idle connection, and lets go of it if that is its end.
    async fn look(&mut self) {
        let end = match &mut self.link {
            Some(link) => link.take_idle().await,
            None => None,
        };
        if let Some(end) = end {
            self.idle_end(end);
        }
    }

    fn idle_end(&mut self, end: IdleEnd) {
        self.link = None;
        let is_reset = end == IdleEnd::Reset;
        self.load.tally.lock().idle_end(Instant::now(), is_reset);
    }

    async fn request(&mut self, due: Instant, number: u64) {
        let begun = Instant::now();
        let mut sample = self.attempt(number).await;
        // What a server gives back any client may send again; the rest is a choice.
        if sample.is_returned || sample.is_retriable && self.load.retry {
            self.load.tally.lock().retry(Instant::now());
            sample = self.attempt(number).await;
        }
        let is_lost = sample.result.is_err();
        self.load.tally.lock().add(Sample {
            client: self.id,
            from: sample.from,
            exchange: sample.exchange,
            due,
            begun,
            done: Instant::now(),
            result: sample.result,
        });
        if is_lost && self.load.pace.rate.is_none() {
            Timer::after(PAUSE).await;
        }
    }

    async fn attempt(&mut self, number: u64) -> Attempt {
        let load = self.load.clone();
        // An end that is here already is seen before the request is sent.
        while let Some(link) = &mut self.link
            && link.has_stirred().await
        {
            self.look().await;
        }
        let mut attempt = Attempt {
            from: None,
            exchange: 0,
            is_retriable: false,
            is_returned: false,
            result: Ok(()),
        };
        let request = load.target.request(self.id, number);
        let link = self.link.take();
        let work = async {
            let mut link = match link {
                Some(link) => link,
                None => Link::open(&load.target).await?,
            };
            attempt.from = link.local_addr();
            attempt.exchange = link.exchanges + 1;
            let response = link.exchange(&request).await?;
            Ok((link, response))
        };
        match work.or(too_late(load.timeout)).await {
            Ok((link, response)) if self.keeps && !response.closes && !link.is_over() => {
                self.link = Some(link);
            }
            Ok((link, _)) => link.close(),
            Err(loss) => {
                // RFC 9112, section 9.3.1: a client may send an idempotent request
                // again when a connection that it had used before ends.
                let is_idempotent = IDEMPOTENT.contains(&request.method.as_str());
                let is_end = matches!(loss.kind, LossKind::Lost | LossKind::Reset);
                attempt.is_retriable =
                    is_idempotent && is_end && loss.received == 0 && attempt.exchange > 1;
                attempt.is_returned = loss.is_returned;
                attempt.result = Err(loss);
            }
        }
        attempt
    }
}

enum Woken {
    Stopped,
    Due,
    Stirred,
}

struct Attempt {
    from: Option<std::net::SocketAddr>,
    exchange: u64,
    is_retriable: bool,
    /// The server said that it did not process the request.
    is_returned: bool,
    result: Result<(), Loss>,
}

async fn too_late<T>(timeout: Duration) -> Result<T, Loss> {
    Timer::after(timeout).await;
    let timeout = humantime::format_duration(timeout);
    Err(Loss {
        kind: LossKind::Hung,
        problem: format!("no whole answer within {timeout}"),
        received: 0,
        is_returned: false,
    })
}
