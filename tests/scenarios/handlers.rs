//! What users do: a handler of their own, through thousands of stops.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::Session;
use lameduck::sim::{self, Check, Connection, Sim};

async fn echo(mut session: Session<Connection>) -> io::Result<()> {
    let mut buffer = [0; 16];
    while let Some(n) = session.read_or_drain(&mut buffer).await? {
        session.write_all(&buffer[..n]).await?;
    }
    Ok(())
}

fn workload(sim: &mut Sim) {
    for _ in 0..=sim.choose(3) {
        sim.client(async |client| {
            client.exchange(b"hello", b"hello").await?;
            client.exchange(b"world", b"world").await
        });
    }
}

/// What `check` says of a handler that loses something.
fn convicted<F>(handler: fn(Session<Connection>) -> F) -> String
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let caught = catch_unwind(AssertUnwindSafe(|| {
        Check::new().run(|sim| {
            sim.serve(handler);
            workload(sim);
        });
    }));
    let panic = caught.expect_err("nothing was found");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn an_echo_loses_nothing() {
    sim::check(|sim| {
        sim.serve(echo);
        workload(sim);
    });
}

/// It asks for the stop before it looks at its input.
async fn stop_first(mut session: Session<Connection>) -> io::Result<()> {
    let draining = session.draining();
    futures::pin_mut!(draining);
    let mut buffer = [0; 16];
    loop {
        let read = session.read(&mut buffer);
        futures::pin_mut!(read);
        match select(&mut draining, read).await {
            Either::Left(_) => return Ok(()),
            Either::Right((Ok(0), _)) => return Ok(()),
            Either::Right((n, _)) => {
                let n = n?;
                session.write_all(&buffer[..n]).await?;
            }
        }
    }
}

#[test]
fn f17_a_handler_that_looks_at_the_stop_first_is_caught() {
    let told = convicted(stop_first);
    assert!(told.contains("F17: #"), "{told}");
    assert!(told.contains("LAMEDUCK_SEED="), "{told}");
}
