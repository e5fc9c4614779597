//! The service that both servers of tonic offer, and its health.

use std::pin::Pin;
use std::time::Duration;

use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::server::HealthReporter;

use crate::LARGE;
use generated::echo_server::EchoServer;

/// What the build script has generated.
#[allow(missing_docs)]
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/compare.Echo.rs"));
}

/// How many messages a stream has.
pub const REPEATS: usize = 20;

/// The pause before each message of a stream: a stop comes in its middle.
const PAUSE: Duration = Duration::from_millis(50);

/// The message of all methods.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    /// What is said.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// Says what it is told.
#[derive(Debug, Default)]
struct Echo;

#[tonic::async_trait]
impl generated::echo_server::Echo for Echo {
    async fn say(&self, request: Request<Text>) -> Result<Response<Text>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn large(&self, _: Request<Text>) -> Result<Response<Text>, Status> {
        let text = "x".repeat(LARGE);
        Ok(Response::new(Text { text }))
    }

    type RepeatStream = Pin<Box<dyn Stream<Item = Result<Text, Status>> + Send>>;

    async fn repeat(
        &self,
        request: Request<Text>,
    ) -> Result<Response<Self::RepeatStream>, Status> {
        let all = std::iter::repeat_n(Ok(request.into_inner()), REPEATS);
        let stream = tokio_stream::iter(all).throttle(PAUSE);
        Ok(Response::new(Box::pin(stream)))
    }
}

/// Returns the service and its health, which is that it serves.
pub async fn routes() -> (Routes, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<EchoServer<Echo>>().await;
    let routes = Routes::new(EchoServer::new(Echo)).add_service(health);
    (routes, reporter)
}
