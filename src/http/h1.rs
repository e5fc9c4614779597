//! The driver of an HTTP/1 connection.
//!
//! hyper does not say whether a connection is idle, and its graceful shutdown
//! ends one with half a head in its buffer, or with a request in the kernel. So
//! the driver counts requests in the service, and asks hyper to end only a
//! connection on which nothing is in flight and nothing was readable. hyper then
//! hands back the transport together with its buffer, the driver takes the last
//! look itself where hyper's was not one, and a fresh connection of hyper goes on
//! with whatever is found.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::service::Service;
use hyper::{Request, Response};
use log::debug;

use super::driver::{Driver, Due};
use super::error::Error;
use super::info::Origin;
use super::service::CountedService;
use super::state::State;
use super::upgrade::{UpgradeWork, Upgraded};
use super::wire::Wire;
use super::{BoxError, Shared};
use crate::rt::{Connection, Runtime};
use crate::session::Session;
use crate::sync::plain::Arc;

/// The end of one connection of hyper.
enum Ended {
    /// hyper has ended it: because it was told to, or for a reason of its own.
    Hyper(hyper::Result<()>),
    HeaderTimeout,
}

/// What hyper was told to end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// The rest of a request whose response has ended. The session goes on.
    Request,
    /// The session, in which its last look has found nothing: the stop was seen before, so
    /// that the system itself was asked.
    Idle,
    /// The session.
    Session,
}

/// Serves a session, of which some bytes were read before. Both are in a box: the future
/// would keep room for its arguments as long as it lives.
pub(super) fn serve<R, C, S, B>(
    shared: Arc<Shared<S>>,
    driver: Box<Driver<R>>,
    mut origin: Origin,
    mut found: Box<(Session<C>, Bytes)>,
) -> impl Future<Output = Result<(), Error>>
where
    R: Runtime,
    C: Connection,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    let mut driver = unbox(driver);
    async move {
        loop {
            let state = Arc::new(State::http1(origin, driver.options()));
            let ending = Ending(state.clone());
            let (session, prefix) = unbox(found);
            let wire = Wire::new(session, prefix, state.clone());
            let service = CountedService {
                shared: shared.clone(),
                state: state.clone(),
            };
            let hyper = shared.http1.serve_connection(wire, service);
            let mut hyper = hyper.with_upgrades();
            let mut told = Told::Nothing;
            let ended =
                poll_fn(|cx| poll(&mut hyper, &mut driver, &state, &mut told, cx)).await;
            let result = match ended {
                Ended::Hyper(result) => result,
                Ended::HeaderTimeout => {
                    debug!("#{}: a head has taken too long", state.origin.id());
                    return Ok(());
                }
            };
            // In a box: the end would have its room for as long as the connection.
            match Box::pin(end(hyper, result, &state, told)).await? {
                Next::Nothing => return Ok(()),
                Next::Idle => {
                    if driver.is_settled() {
                        driver.facts().set_drained();
                    }
                    return Ok(());
                }
                Next::Upgraded => {
                    return Box::pin(upgraded::<C, R>(driver, ending)).await;
                }
                Next::Request(next) => {
                    origin = state.origin.try_clone().map_err(Error::guard)?;
                    found = next;
                }
            }
        }
    }
}

/// The end of a connection of hyper. What was left to run after an upgrade, which did not
/// come, may hold the connection: it would keep itself.
struct Ending(Arc<State>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end_upgrades();
    }
}

/// Frees the box at once: one that is moved out of lasts as long as its variable.
#[expect(clippy::boxed_local, reason = "it is here for the box")]
pub(super) fn unbox<T>(value: Box<T>) -> T {
    *value
}

/// The next step of a connection once hyper has ended.
enum Next<C> {
    /// None: the connection has ended, or something else has it.
    Nothing,
    /// None: the connection was idle.
    Idle,
    /// The connection was upgraded.
    Upgraded,
    /// These bytes of another request, and what follows.
    Request(Box<(Session<C>, Bytes)>),
}

/// Looks for what hyper has left when it has ended.
async fn end<C: Connection, S, B>(
    hyper: UpgradeableConnection<Wire<C>, CountedService<S>>,
    result: hyper::Result<()>,
    state: &State,
    told: Told,
) -> Result<Next<C>, Error>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    let parts = match hyper.into_parts() {
        Some(parts) => Some((parts.io, parts.read_buf)),
        None if state.is_tunnel() => return Ok(Next::Upgraded),
        None => given_away(state).await?,
    };
    let Some((wire, read_buf)) = parts else {
        // Some task of the program has it: the server waits for its session.
        return Ok(Next::Nothing);
    };
    // Without having been told, it ends for a reason of its own. The rest of a
    // request that is given up is no request.
    let has_own_reason = told == Told::Nothing || state.is_last() || state.is_exchanging();
    if result.is_err() || has_own_reason {
        return Error::of_hyper(result, state.origin.id()).map(|()| Next::Nothing);
    }
    let (mut session, rest) = into_rest(wire, read_buf);
    let found = match told {
        Told::Idle if rest.is_empty() => None,
        // The last look, with nothing between it and the system.
        Told::Session if rest.is_empty() => last_look(&mut session).await?,
        _ => Some(rest),
    };
    Ok(match found {
        Some(found) => Next::Request(Box::new((session, found))),
        None => Next::Idle,
    })
}

fn poll<R, C, S, B>(
    hyper: &mut UpgradeableConnection<Wire<C>, CountedService<S>>,
    driver: &mut Driver<R>,
    state: &State,
    told: &mut Told,
    cx: &mut Context<'_>,
) -> Poll<Ended>
where
    R: Runtime,
    C: Connection,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    loop {
        // The stop is looked at before hyper reads: what had arrived before it
        // was seen is then found by hyper.
        let is_settled = driver.is_settled();
        state.set_announces(driver.announces());
        let ends_idle = is_settled || driver.is_retired();
        driver.facts().set_found_nothing(false);
        let mut polled = state.drive(|| Pin::new(&mut *hyper).poll(cx));
        if polled.is_pending() && state.hides_end() && !state.is_answering() {
            // Nothing is in flight any more that the peer's end would give up.
            polled = state.drive(|| Pin::new(&mut *hyper).poll(cx));
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(Ended::Hyper(result));
        }
        if *told == Told::Idle {
            // It was not its last look.
            *told = Told::Session;
        }
        driver.observe(state);
        let may_tell = match (
            state.in_flight() == 0 && state.is_exchanging(),
            state.is_last(),
        ) {
            (false, _) => (ends_idle && driver.is_idle(state)).then_some(match is_settled {
                true => Told::Idle,
                false => Told::Session,
            }),
            // Where the connection is to go on, hyper keeps the end of such a request to
            // itself until the next one comes, and makes an error of it if that never
            // comes. One that is told to end gives it to the reader.
            (true, false) => Some(Told::Request),
            // It ends itself then, and would give up the rest if it were told.
            (true, true) => None,
        };
        let waits = may_tell == Some(Told::Idle) && driver.is_spared(cx);
        if let Some(end) = may_tell.filter(|_| *told == Told::Nothing && !waits) {
            *told = end;
            state.set_told();
            Pin::new(&mut *hyper).graceful_shutdown();
            continue;
        }
        match driver.poll_due(cx) {
            Poll::Ready(Due::Head) => return Poll::Ready(Ended::HeaderTimeout),
            Poll::Ready(_) => continue,
            Poll::Pending => {}
        }
        if driver.poll_stop(cx, is_settled).is_pending() {
            return Poll::Pending;
        }
    }
}

/// Takes the transport back that hyper has given away by an upgrade which was refused,
/// with what it had read, and sends what it had not written.
async fn given_away<C: Connection>(state: &State) -> Result<Option<(Wire<C>, Bytes)>, Error> {
    let Some(upgrade) = state.take_refused_upgrade() else {
        return Ok(None);
    };
    // It is there already, unless a task of the program has taken it.
    let parts = match upgrade
        .await
        .map(hyper::upgrade::Upgraded::downcast::<Wire<C>>)
    {
        Ok(Ok(parts)) => parts,
        _ => return Ok(None),
    };
    let mut wire = parts.io;
    let sent = poll_fn(|cx| wire.poll_send_unsent(cx)).await;
    sent.map_err(Error::io)?;
    Ok(Some((wire, parts.read_buf)))
}

/// Returns the session, and all bytes that no request was made of.
fn into_rest<C>(wire: Wire<C>, read_buf: Bytes) -> (Session<C>, Bytes) {
    // Nothing is unsent where hyper was told to end, and has flushed.
    let (session, unread, _) = wire.into_parts();
    let rest = match unread.is_empty() {
        true => read_buf,
        false => [read_buf, unread].concat().into(),
    };
    // Empty lines between requests are no request (RFC 9112, 2.2).
    let is_line_end = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
    let skipped = rest.iter().take_while(is_line_end).count();
    (session, rest.slice(skipped..))
}

/// Reads what the system has just now. `None`: it has nothing, or the peer has
/// ended its side.
fn last_look<C: Connection>(
    session: &mut Session<C>,
) -> impl Future<Output = Result<Option<Bytes>, Error>> {
    poll_fn(|cx| {
        // Not a part of the connection's task.
        let mut buffer = [0; 512];
        let read = ready!(session.poll_look(cx, &mut buffer));
        let n = read.map_err(Error::io)?.unwrap_or(0);
        Poll::Ready(Ok((n > 0).then(|| Bytes::copy_from_slice(&buffer[..n]))))
    })
}

/// Runs what a request has left for the time after the upgrade.
async fn upgraded<C: Connection, R: Runtime>(
    driver: Driver<R>,
    ending: Ending,
) -> Result<(), Error> {
    let handle = driver.handle;
    let Some(work) = ending.0.take_work() else {
        // Some task of the program has it: the server waits for its session.
        return Ok(());
    };
    drop(ending);
    let UpgradeWork { upgrade, run } = *work;
    let Ok(upgraded) = upgrade.await else {
        return Ok(());
    };
    handle.set_label("upgraded");
    match Upgraded::of::<C>(upgraded) {
        Some(mut upgraded) => {
            // First of all: the peer says nothing before it has the response.
            let sent = poll_fn(|cx| upgraded.poll_send_unsent(cx)).await;
            sent.map_err(Error::io)?;
            run(upgraded, handle).await.map_err(Error::upgraded)
        }
        None => Ok(()),
    }
}
