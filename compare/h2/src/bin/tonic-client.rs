//! tonic-client IP:PORT CONNECTIONS: keeps unary, streaming and health calls of tonic's
//! own client going until the server refuses, and says what they came to. Stop the server
//! meanwhile: each call that was under way must be answered. Exit status: 0 all were.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use lameduck_compare_h2::address;
use lameduck_compare_h2::echo::generated::echo_client::EchoClient;
use lameduck_compare_h2::echo::{REPEATS, Text};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Longer than any stop may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What the calls of one kind came to.
#[derive(Clone, Debug, Default)]
struct Tally {
    whole: u64,
    /// The server is gone: the call was not sent, or the server said that it did not
    /// process it.
    refused: u64,
    lost: Vec<String>,
}

impl Tally {
    /// Notes a call; says whether to go on.
    fn note(&mut self, result: Result<(), Status>) -> bool {
        match result {
            Ok(()) => self.whole += 1,
            Err(status) if is_refusal(&status) => self.refused += 1,
            Err(status) => self
                .lost
                .push(format!("{:?}: {}", status.code(), status.message())),
        }
        self.refused == 0 && self.lost.is_empty()
    }

    fn add(&mut self, other: Tally) {
        self.whole += other.whole;
        self.refused += other.refused;
        self.lost.extend(other.lost);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.lost.len();
        write!(
            f,
            "{} whole, {} refused, {lost} lost",
            self.whole, self.refused
        )?;
        self.lost
            .iter()
            .take(3)
            .try_for_each(|why| write!(f, "\n  {why}"))
    }
}

/// Says whether a call never reached a server that processed it: nobody listens, or
/// the connection had ended or announced its end before the call was sent.
fn is_refusal(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let is_no_error = error.reason() == Some(h2::Reason::NO_ERROR);
            let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return is_refused || error.is_go_away() && error.is_remote() && is_no_error;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return true;
        }
        source = error.source();
    }
    false
}

async fn unary(channel: Channel) -> Tally {
    let mut client = EchoClient::new(channel);
    let mut tally = Tally::default();
    for number in 0_u64.. {
        let text = format!("call {number}");
        let said = client.say(Text { text: text.clone() }).await;
        let result = said.and_then(|said| match said.into_inner().text == text {
            true => Ok(()),
            false => Err(Status::data_loss("another answer")),
        });
        if !tally.note(result) {
            break;
        }
    }
    tally
}

async fn streaming(channel: Channel) -> Tally {
    let mut client = EchoClient::new(channel);
    let mut tally = Tally::default();
    loop {
        let text = "a stream".to_owned();
        let begun = client.repeat(Text { text }).await;
        let result = match begun {
            Ok(stream) => read(stream.into_inner()).await,
            Err(status) => Err(status),
        };
        if !tally.note(result) {
            return tally;
        }
    }
}

async fn read(mut stream: tonic::Streaming<Text>) -> Result<(), Status> {
    let mut count = 0;
    while let Some(_text) = stream.message().await.map_err(|status| {
        // It had begun: whatever the status says, a part of it is missing.
        Status::new(Code::DataLoss, format!("after {count} messages: {status}"))
    })? {
        count += 1;
    }
    match count {
        REPEATS => Ok(()),
        _ => Err(Status::data_loss(format!("only {count} messages"))),
    }
}

async fn health(channel: Channel) -> Tally {
    let mut client = HealthClient::new(channel);
    let mut tally = Tally::default();
    loop {
        let service = "compare.Echo".to_owned();
        let answer = client.check(HealthCheckRequest { service }).await;
        if !tally.note(answer.map(drop)) {
            return tally;
        }
    }
}

/// Three kinds of calls over one connection.
async fn connection(endpoint: Endpoint) -> Result<[Tally; 3], tonic::transport::Error> {
    let channel = endpoint.connect().await?;
    let (unary, streaming, health) = tokio::join!(
        unary(channel.clone()),
        streaming(channel.clone()),
        health(channel)
    );
    Ok([unary, streaming, health])
}

async fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", address()?))?;
    let count: usize = std::env::args().nth(2).unwrap_or_default().parse()?;
    let mut connections = JoinSet::new();
    for _ in 0..count {
        connections.spawn(connection(endpoint.clone()));
    }
    let mut sums: [Tally; 3] = Default::default();
    while let Some(tallies) = connections.join_next().await {
        for (sum, tally) in sums.iter_mut().zip(tallies??) {
            sum.add(tally);
        }
    }
    for (name, sum) in ["unary", "streaming", "health"].iter().zip(&sums) {
        println!("{name}: {sum}");
    }
    Ok(sums.iter().all(|sum| sum.lost.is_empty()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match tokio::time::timeout(LIMIT, run()).await {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            eprintln!("tonic-client: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("tonic-client: calls hang");
            ExitCode::FAILURE
        }
    }
}
