//! Handlers of users through thousands of stops: those that lose data are
//! found, and the right ones pass.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::Session;
use lameduck::sim::{Check, Connection, Sim};

/// The number of stops within which a handler that loses data is found.
const FOUND_WITHIN: u64 = 1000;

/// The number of stops that a right handler passes.
const PASSED: u64 = if cfg!(debug_assertions) {
    2_000
} else {
    20_000
};

/// Returns what `check` says of a handler that loses data.
fn convict(scenario: impl Fn(&mut Sim)) -> String {
    let check = Check::new().cases(FOUND_WITHIN);
    let caught = catch_unwind(AssertUnwindSafe(|| check.run(scenario)));
    let panic = caught.expect_err("nothing was found");
    let message = panic.downcast_ref::<String>().expect("a text").clone();
    assert!(message.contains("LAMEDUCK_SEED="), "{message}");
    message
}

/// Clients of a service that answers each line with its length.
fn lines(sim: &mut Sim) {
    for _ in 0..=sim.choose(3) {
        sim.client(async |client| {
            client.exchange(b"four\n", &[4]).await?;
            client.exchange(b"seven77\n", &[7]).await
        });
    }
}

/// Clients of a service that answers each request with a head only.
fn heads(sim: &mut Sim) {
    for _ in 0..=sim.choose(3) {
        sim.client(async |client| {
            client.exchange(b"GET /a\n\n", b"200\n\n").await?;
            client.request(b"GET /b\n\n", b"200\n\n").await?;
            client.exchange(b"GET /c\n\n", b"200\n\n").await
        });
    }
}

async fn echo(mut session: Session<Connection>) -> io::Result<()> {
    let mut buffer = [0; 16];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

#[test]
fn an_echo_loses_nothing() {
    Check::new().cases(PASSED).run(|sim| {
        sim.serve(echo);
        for _ in 0..=sim.choose(3) {
            sim.client(async |client| {
                client.exchange_bytes(b"hello", b"hello").await?;
                client.exchange_bytes(b"world", b"world").await
            });
        }
    });
}

/// Answers a byte of a line; a newline ends the line.
async fn answer(session: &mut Session<Connection>, byte: u8, length: u8) -> io::Result<u8> {
    if byte == b'\n' {
        session.write_all(&[length]).await?;
        return Ok(0);
    }
    Ok(length + 1)
}

/// Right: between two lines it waits where the stop may end it, and inside of a
/// line it does not.
async fn careful_lines(mut session: Session<Connection>) -> io::Result<()> {
    let mut byte = [0];
    while session.read_or_drain(&mut byte).await?.is_some() {
        let mut length = answer(&mut session, byte[0], 0).await?;
        while byte[0] != b'\n' {
            session.read_exact(&mut byte).await?;
            length = answer(&mut session, byte[0], length).await?;
        }
    }
    Ok(())
}

#[test]
fn a_careful_line_service_loses_nothing() {
    Check::new().cases(PASSED).run(|sim| {
        sim.serve(careful_lines);
        lines(sim);
    });
}

/// Wrong: in the middle of a line, too, it waits where the stop may end it.
async fn careless_lines(mut session: Session<Connection>) -> io::Result<()> {
    let (mut byte, mut length) = ([0], 0);
    while session.read_or_drain(&mut byte).await?.is_some() {
        length = answer(&mut session, byte[0], length).await?;
    }
    Ok(())
}

#[test]
fn f74_f27_a_handler_that_drops_half_a_request_is_found() {
    let message = convict(|sim| {
        sim.serve(careless_lines);
        lines(sim);
    });
    assert!(message.contains("F17: #"), "{message}");
}

/// Wrong: it takes the stop when it has both the stop and input.
async fn stop_first(mut session: Session<Connection>) -> io::Result<()> {
    let (mut byte, mut length) = ([0], 0);
    let mut draining = session.draining();
    loop {
        match select(&mut draining, session.read(&mut byte)).await {
            Either::Left(_) | Either::Right((Ok(0), _)) => return Ok(()),
            Either::Right((read, _)) => read?,
        };
        length = answer(&mut session, byte[0], length).await?;
        while byte[0] != b'\n' {
            session.read_exact(&mut byte).await?;
            length = answer(&mut session, byte[0], length).await?;
        }
    }
}

#[test]
fn f17_a_handler_that_looks_at_the_stop_first_is_found() {
    let message = convict(|sim| {
        sim.serve(stop_first);
        lines(sim);
    });
    assert!(message.contains("F17: #"), "{message}");
}

/// Wrong: bytes that come between its look at the input and its look at the
/// stop are lost.
async fn input_first(mut session: Session<Connection>) -> io::Result<()> {
    let (mut byte, mut length) = ([0], 0);
    let mut draining = session.draining();
    loop {
        match select(session.read(&mut byte), &mut draining).await {
            Either::Right(_) | Either::Left((Ok(0), _)) => return Ok(()),
            Either::Left((read, _)) => read?,
        };
        length = answer(&mut session, byte[0], length).await?;
        while byte[0] != b'\n' {
            session.read_exact(&mut byte).await?;
            length = answer(&mut session, byte[0], length).await?;
        }
    }
}

#[test]
fn f74_f17_a_handler_that_looks_at_its_input_first_is_found() {
    let message = convict(|sim| {
        sim.serve(input_first);
        lines(sim);
    });
    assert!(message.contains("F17: #"), "{message}");
    assert!(message.contains("in the middle of a poll"), "{message}");
}

/// A connection that reads ahead into a buffer of its own, as a library for
/// HTTP does. It answers each head that ends with an empty line.
struct Http {
    session: Session<Connection>,
    input: Vec<u8>,
}

impl Http {
    fn new(session: Session<Connection>) -> Http {
        let input = Vec::new();
        Http { session, input }
    }

    /// Answers the requests that are in the buffer.
    async fn answer_all(&mut self) -> io::Result<()> {
        while let Some(end) = self.input.windows(2).position(|two| two == b"\n\n") {
            self.input.drain(..end + 2);
            self.session.write_all(b"200\n\n").await?;
        }
        Ok(())
    }

    /// Serves until the peer ends its side.
    async fn serve(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64];
        loop {
            let n = self.session.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            self.input.extend(&buffer[..n]);
            self.answer_all().await?;
        }
    }
}

/// Wrong in two ways, as in many guides: the stop comes before requests that
/// have arrived, and a connection with half a request counts as idle.
async fn naive_http(session: Session<Connection>) -> io::Result<()> {
    let draining = session.draining();
    let mut http = Http::new(session);
    let serving = std::pin::pin!(http.serve());
    match select(serving, draining).await {
        Either::Left((ended, _)) => ended,
        // What `graceful_shutdown` does with an idle connection.
        Either::Right(_) => Ok(()),
    }
}

#[test]
fn f74_f17_a_naive_select_of_connection_and_stop_is_found() {
    let message = convict(|sim| {
        sim.serve(naive_http);
        heads(sim);
    });
    assert!(message.contains("F17: #"), "{message}");
}

/// Wrong in one way: it looks at the connection again after the stop, and
/// still takes half a request for none.
async fn http_without_halves(session: Session<Connection>) -> io::Result<()> {
    let mut http = Http::new(session);
    let mut buffer = [0; 64];
    while let Some(n) = http.session.read_or_drain(&mut buffer).await? {
        http.input.extend(&buffer[..n]);
        http.answer_all().await?;
    }
    Ok(())
}

#[test]
fn f74_f27_a_library_that_takes_half_a_request_for_none_is_found() {
    let message = convict(|sim| {
        sim.serve(http_without_halves);
        heads(sim);
    });
    assert!(message.contains("F17: #"), "{message}");
}

/// Right: it is idle only while its buffer is empty.
async fn careful_http(session: Session<Connection>) -> io::Result<()> {
    let mut http = Http::new(session);
    let mut buffer = [0; 64];
    loop {
        let n = if http.input.is_empty() {
            http.session.read_or_drain(&mut buffer).await?.unwrap_or(0)
        } else {
            http.session.read(&mut buffer).await?
        };
        if n == 0 {
            return Ok(());
        }
        http.input.extend(&buffer[..n]);
        http.answer_all().await?;
    }
}

#[test]
fn an_http_service_that_is_idle_between_requests_loses_nothing() {
    Check::new().cases(PASSED).run(|sim| {
        sim.serve(careful_http);
        heads(sim);
    });
}
