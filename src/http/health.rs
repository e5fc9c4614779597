//! Readiness and liveness, for load balancers and supervisors.

use std::convert::Infallible;
use std::future::{Ready, ready};

use hyper::service::Service;
use hyper::{Request, Response, StatusCode};

use crate::gate::Shutdown;
use crate::phase::Phase;

/// The paths that answer for the health of a server.
///
/// Readiness says whether new work is welcome: 200, and 503 from the begin of
/// the stop on ([F13](crate::docs::faults#f13)). Liveness says that the process
/// works: 200, also while it drains ([F14](crate::docs::faults#f14)).
///
/// ```
/// use lameduck::http::HealthPaths;
///
/// let paths = HealthPaths::default();
/// assert_eq!((&*paths.ready, &*paths.live), ("/readyz", "/livez"));
/// let paths = HealthPaths::new("/ready", "/alive");
/// # drop(paths);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthPaths {
    /// The path of the readiness. Default: `/readyz`.
    pub ready: String,
    /// The path of the liveness. Default: `/livez`.
    pub live: String,
}

impl Default for HealthPaths {
    fn default() -> HealthPaths {
        HealthPaths::new("/readyz", "/livez")
    }
}

impl HealthPaths {
    /// Creates the paths.
    pub fn new(ready: impl Into<String>, live: impl Into<String>) -> HealthPaths {
        HealthPaths {
            ready: ready.into(),
            live: live.into(),
        }
    }

    /// Returns the answer, where the path is one of the two.
    pub(super) fn status(&self, path: &str, shutdown: &Shutdown) -> Option<StatusCode> {
        if path == self.ready {
            Some(match shutdown.phase() {
                Phase::Running => StatusCode::OK,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            })
        } else if path == self.live {
            Some(StatusCode::OK)
        } else {
            None
        }
    }
}

/// A service that answers for the health of a server, for a port of its own.
///
/// A server of its own serves it, which outlives the one that it tells of:
///
/// ```
/// use lameduck::http::{Health, Http};
/// use lameduck::{Server, runtimes::smol::Smol};
///
/// let server = Server::builder(Smol).listen("127.0.0.1:0").bind()?;
/// let health = Health::new(server.shutdown());
/// let admin = Server::builder(Smol).listen("127.0.0.1:0").signals([]).bind()?;
/// let admin_shutdown = admin.shutdown();
/// smol::spawn(admin.serve_http(Http::new(health))).detach();
/// # server.shutdown().stop("done");
/// let report = smol::block_on(server.serve(|_| async { std::io::Result::Ok(()) }));
/// admin_shutdown.stop("nobody is left to ask for");
/// # drop(report);
/// # Ok::<(), lameduck::BindError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Health {
    shutdown: Shutdown,
    paths: HealthPaths,
}

impl Health {
    /// Creates the service, with the default paths.
    pub fn new(shutdown: Shutdown) -> Health {
        Health::with_paths(shutdown, HealthPaths::default())
    }

    /// Creates the service.
    pub fn with_paths(shutdown: Shutdown, paths: HealthPaths) -> Health {
        Health { shutdown, paths }
    }
}

impl<B> Service<Request<B>> for Health {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let status = self.paths.status(request.uri().path(), &self.shutdown);
        let status = status.unwrap_or(StatusCode::NOT_FOUND);
        let text = match status {
            StatusCode::NOT_FOUND => String::new(),
            _ => format!("{}\n", self.shutdown.phase()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        ready(Ok(response))
    }
}
