//! HTTP in thousands of simulated stops.

use std::io;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::Signal;
use lameduck::sim::{Check, Client, Sim, SimRuntime};

use crate::support::{GET, http};

const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

fn serve(sim: &mut Sim) {
    let handler = http().into_handler::<SimRuntime, _>(sim.runtime(), []);
    sim.serve(move |session| {
        let serving = handler(session);
        async move { serving.await.map_err(io::Error::other) }
    });
}

/// What came of the requests that were sent at once.
struct Answers {
    count: usize,
    has_ended: bool,
    announced: bool,
}

/// Longer than anything is on its way.
const ARRIVED: Duration = Duration::from_secs(1);
/// At work until the server drains.
const DRAIN: &[u8] = b"GET /drain HTTP/1.1\r\nhost: a\r\n\r\n";

/// Reads `owed` responses, or less to the end. All bodies are `hello`, or
/// `drained`.
async fn answers(client: &mut Client, owed: usize) -> io::Result<Answers> {
    let (mut read, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        let text = String::from_utf8_lossy(&read);
        let (count, announced) = (
            text.matches("\r\n\r\nhello").count() + text.matches("\r\n\r\ndrained").count(),
            text.contains("connection: close"),
        );
        if count >= owed {
            let last = text.rfind("connection: close");
            let last_head = text.rfind("HTTP/1.1 200").unwrap_or(0);
            assert!(last.is_none_or(|at| at > last_head), "F75: {text}");
            assert_eq!(count, owed, "{text}");
            return Ok(Answers {
                count,
                has_ended: false,
                announced,
            });
        }
        let n = client.read(&mut buffer).await?;
        if n == 0 {
            return Ok(Answers {
                count,
                has_ended: true,
                announced,
            });
        }
        read.extend_from_slice(&buffer[..n]);
    }
}

/// Whatever the moment of the stop, the close is announced with the last
/// response only, and nothing is reset: the simulation judges that.
#[test]
fn f75_nothing_follows_the_response_that_announces_the_close() {
    Check::new().run(|sim| {
        serve(sim);
        for _ in 0..1 + sim.choose(3) {
            let batches: Vec<_> = (0..3).map(|_| 1 + sim.choose(4) as usize).collect();
            let pause = Duration::from_micros(u64::from(sim.choose(200)));
            sim.client(async move |client| {
                for batch in batches {
                    let requests = [GET, POST, CHUNKED].into_iter().cycle().take(batch);
                    client
                        .write_all(&requests.collect::<Vec<_>>().concat())
                        .await?;
                    let answers = answers(client, batch).await?;
                    assert!(answers.count <= batch);
                    if answers.has_ended || answers.announced {
                        break;
                    }
                    client.pause(pause).await;
                }
                Ok(())
            });
        }
    });
}

/// What had arrived behind a request in flight is answered, and half of a
/// request when its rest comes, wherever it is cut.
#[test]
fn f27_all_that_had_arrived_before_the_stop_is_answered() {
    Check::new().run(|sim| {
        serve(sim);
        for _ in 0..1 + sim.choose(3) {
            let batch = sim.choose(4) as usize;
            let request = [GET, POST, CHUNKED][sim.choose(3) as usize];
            let cut = sim.choose(request.len() as u32) as usize;
            let rest_after = Duration::from_micros(u64::from(sim.choose(2000)));
            sim.client(async move |client| {
                let behind = [GET, POST, CHUNKED].into_iter().cycle().take(batch);
                let behind = behind.collect::<Vec<_>>().concat();
                client
                    .write_all(&[DRAIN, &behind, &request[..cut]].concat())
                    .await?;
                // The stop comes in between, when all of it has arrived.
                client.pause(2 * ARRIVED + rest_after).await;
                let owed = 1 + batch + usize::from(cut > 0);
                if cut > 0 {
                    client.write_all(&request[cut..]).await?;
                }
                let answers = answers(client, owed).await?;
                assert_eq!(answers.count, owed, "{batch} behind it, cut at {cut}");
                assert!(answers.announced);
                Ok(())
            });
        }
        sim.advance(ARRIVED, 1_000_000);
        match sim.choose(2) {
            0 => sim.signal(Signal::Terminate),
            _ => sim.signal_in_poll(Signal::Terminate),
        }
    });
}
