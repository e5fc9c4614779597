//! HTTP in thousands of simulated stops.

use std::io;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
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

/// Reads `owed` responses, or less to the end. All bodies are `hello`.
async fn answers(client: &mut Client, owed: usize) -> io::Result<Answers> {
    let (mut read, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        let text = String::from_utf8_lossy(&read);
        let (count, announced) = (
            text.matches("\r\n\r\nhello").count(),
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

/// Requests that are sent in one go are answered all, or none of them: those
/// that cross the end on their way (F17).
#[test]
fn f75_pipelined_requests_are_answered_all_or_none() {
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
                    assert!(
                        answers.count == batch || answers.count == 0 && !answers.announced,
                        "{} of {batch} were answered",
                        answers.count,
                    );
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

/// A request of which a part had come is answered when its rest comes, wherever
/// it is cut.
#[test]
fn f27_a_request_that_has_begun_is_answered() {
    Check::new().run(|sim| {
        serve(sim);
        for _ in 0..1 + sim.choose(3) {
            let request = [GET, POST, CHUNKED][sim.choose(3) as usize];
            let cut = 1 + sim.choose(request.len() as u32 - 1) as usize;
            let pause = Duration::from_micros(u64::from(sim.choose(2000)));
            sim.client(async move |client| {
                // Its first part follows a request that is answered, so that the
                // server has it before the client hears of a stop.
                client.write_all(&[GET, &request[..cut]].concat()).await?;
                let first = answers(client, 1).await?;
                if first.count == 0 {
                    // It was on its way when the server ended the connection.
                    return Ok(());
                }
                client.pause(pause).await;
                client.write_all(&request[cut..]).await?;
                let second = answers(client, 1).await?;
                assert_eq!(second.count, 1, "cut at {cut}");
                Ok(())
            });
        }
    });
}
