//! Connections that send to each other: who receives drains last (F94).

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::channel::oneshot;
use futures::future::{Either, FutureExt, Shared, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use lameduck::report::Outcome;
use lameduck::runtimes::parts::unacknowledged;
use lameduck::sim::{Check, Match};
use lameduck::{Connection, Runtime, Session};

use crate::support::{Client, builder, eventually, first_address, start};

/// Its first client subscribes. All others are publishers, of one byte a message.
#[derive(Clone)]
struct Broker {
    queue: UnboundedSender<u8>,
    subscriber: Arc<Mutex<Option<Subscriber>>>,
    has_subscribed: Shared<oneshot::Receiver<()>>,
    /// The messages that were confirmed, and those of them that the subscriber was sent.
    counts: Arc<[AtomicUsize; 2]>,
}

struct Subscriber {
    messages: UnboundedReceiver<u8>,
    subscribes: oneshot::Sender<()>,
}

impl Broker {
    fn new() -> Broker {
        let (queue, messages) = unbounded();
        let (subscribes, has_subscribed) = oneshot::channel();
        let subscriber = Subscriber {
            messages,
            subscribes,
        };
        Broker {
            queue,
            subscriber: Arc::new(Mutex::new(Some(subscriber))),
            has_subscribed: has_subscribed.shared(),
            counts: Arc::default(),
        }
    }

    async fn serve(self, session: Session<impl Connection>) -> io::Result<()> {
        let mut session = session;
        let mut kind = [0];
        if session.read_or_drain(&mut kind).await?.is_none() {
            return Ok(());
        }
        match &kind {
            b"s" => self.subscribe(session).await,
            _ => self.publish(session).await,
        }
    }

    async fn subscribe(self, session: Session<impl Connection>) -> io::Result<()> {
        let taken = self.subscriber.lock().unwrap().take();
        let mut subscriber = taken.expect("one subscribes");
        let mut handle = session.handle()?;
        handle.drain_last();
        subscriber.subscribes.send(()).unwrap();
        let (mut input, mut output) = session.split();
        output.write_all(b"k").await?;
        loop {
            let mut byte = [0];
            let next = select(subscriber.messages.next(), input.read(&mut byte));
            match handle.next_or_drain(pin!(next), || true).await {
                Some(Either::Left((Some(message), _))) => {
                    output.write_all(&[message]).await?;
                    self.counts[1].fetch_add(1, Ordering::Relaxed);
                }
                _ => return Ok(()),
            }
        }
    }

    /// What is confirmed has to come to the subscriber.
    async fn publish(self, mut session: Session<impl Connection>) -> io::Result<()> {
        session.write_all(b"k").await?;
        let mut message = [0];
        while session.read_or_drain(&mut message).await?.is_some() {
            self.has_subscribed.clone().await.unwrap();
            // Its subscriber may have ended.
            let _ = self.queue.unbounded_send(message[0]);
            self.counts[0].fetch_add(1, Ordering::Relaxed);
            session.write_all(b"k").await?;
        }
        Ok(())
    }
}

const PUBLISHERS: u8 = 20;

pub(crate) fn f94_a_subscriber_has_what_publishers_behind_it_had_sent(runtime: impl Runtime) {
    // The limit is not for those that wait in the queue.
    let server = builder(runtime).connection_limit(1).bind().unwrap();
    let address = first_address(&server);
    let mut subscriber = Client::connect(address);
    subscriber.send(b"s");
    let mut publishers: Vec<_> = (0..PUBLISHERS).map(|_| Client::connect(address)).collect();
    for (message, publisher) in publishers.iter_mut().enumerate() {
        publisher.send(&[b'p', message as u8]);
    }
    // All of them are in the queue.
    server.shutdown().stop("before anybody was accepted");
    let broker = Broker::new();
    let running = start(server, move |session| broker.clone().serve(session));
    for publisher in &mut publishers {
        assert_eq!(publisher.rest(), b"kk");
    }
    subscriber.expect(b"k");
    let mut received = subscriber.rest();
    received.sort_unstable();
    assert_eq!(received, Vec::from_iter(0..PUBLISHERS));
    drop((subscriber, publishers));
    let report = running.report();
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
    assert_eq!(report.closed.drained, u64::from(PUBLISHERS) + 1, "{report}");
}

type Members = Arc<Mutex<Vec<UnboundedSender<u8>>>>;

/// Sends what its client says to all, and a good-bye.
async fn chat(members: Members, session: Session<impl Connection>) -> io::Result<()> {
    let mut handle = session.handle()?;
    handle.drain_last();
    let (sender, mut inbox) = unbounded();
    members.lock().unwrap().push(sender);
    let (mut input, mut output) = session.split();
    loop {
        let mut said = [0];
        let next = select(inbox.next(), input.read(&mut said));
        match handle.next_or_drain(pin!(next), || true).await {
            Some(Either::Left((Some(word), _))) => output.write_all(&[word]).await?,
            Some(Either::Right((Ok(1), _))) => {
                let members = members.lock().unwrap();
                for member in members.iter() {
                    let _ = member.unbounded_send(said[0]);
                }
            }
            None => return output.write_all(b".").await,
            _ => return Ok(()),
        }
    }
}

pub(crate) fn f94_members_of_a_chat_hear_each_other_and_end(runtime: impl Runtime) {
    for _ in 0..20 {
        let members = Members::default();
        let all = members.clone();
        let server = builder(runtime.clone()).bind().unwrap();
        let server = start(server, move |session| chat(all.clone(), session));
        let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        eventually("all are members", || members.lock().unwrap().len() == 5);
        for client in &mut clients {
            client.send(b"x");
        }
        for client in &clients {
            let left = || unacknowledged(&client.0).unwrap_or(0);
            eventually("what was sent has arrived", || left() == 0);
        }
        server.shutdown.stop("while they speak");
        for client in &mut clients {
            assert_eq!(client.rest(), b"xxxxx.");
        }
        drop(clients);
        let report = server.report();
        assert_eq!(report.closed.drained, 5, "{report}");
    }
}

pub(crate) fn f94_those_that_drain_last_end_by_the_abort(runtime: impl Runtime) {
    let server = builder(runtime).bind().unwrap();
    let broker = Broker::new();
    let server = start(server, move |session: Session<_>| {
        let broker = broker.clone();
        async move {
            if session.id() == 1 {
                return broker.serve(session).await;
            }
            std::future::pending().await
        }
    });
    let mut subscriber = server.connect();
    subscriber.send(b"s");
    let _busy = server.connect();
    eventually("both are there", || server.shutdown.guard_count() >= 3);
    server.shutdown.stop("one is busy");
    server.shutdown.abort("and does not end");
    let report = server.report();
    assert_eq!(report.closed.aborted, 2, "{report}");
}

/// Two members have a good-bye; the third never takes its turn.
pub(crate) fn f98_those_that_rest_end_in_order_although_one_is_stuck(runtime: impl Runtime) {
    let server = builder(runtime).grace_period(Duration::from_secs(5));
    let members = Members::default();
    let all = members.clone();
    let server = start(server.bind().unwrap(), move |session: Session<_>| {
        let members = all.clone();
        async move {
            if session.id() < 3 {
                return chat(members, session).await;
            }
            let mut handle = session.handle()?;
            handle.drain_last();
            handle.set_label("stuck");
            members.lock().unwrap().push(unbounded().0);
            std::future::pending().await
        }
    });
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    eventually("all are members", || members.lock().unwrap().len() == 3);
    server.shutdown.stop("one is stuck");
    for client in &mut clients[..2] {
        assert_eq!(client.rest(), b".");
    }
    drop(clients);
    let report = server.report();
    assert_eq!(report.closed.drained, 2, "{report}");
    let labels: Vec<_> = report.aborted.iter().map(|s| s.label.as_deref()).collect();
    assert_eq!(labels, [Some("stuck")], "{report}");
}

#[test]
fn f94_a_simulated_subscriber_has_all_that_was_confirmed() {
    Check::new().run(|sim| {
        let broker = Broker::new();
        let counts = broker.counts.clone();
        sim.serve(move |session| broker.clone().serve(session));
        let (subscribes, has_subscribed) = oneshot::channel();
        let has_subscribed = has_subscribed.shared();
        sim.client(async |client| {
            client.allow_unsolicited(|_| Match::Complete(1));
            client.exchange(b"s", b"k").await?;
            let _ = subscribes.send(());
            while client.receive().await.is_ok() {}
            Ok(())
        });
        for _ in 0..3 {
            let has_subscribed = has_subscribed.clone();
            sim.client(async move |client| {
                if has_subscribed.await.is_ok() {
                    client.exchange_bytes(b"p12", b"kkk").await?;
                    client.exchange_bytes(b"34", b"kk").await?;
                }
                Ok(())
            });
        }
        sim.at_end(move |_, _| {
            let [confirmed, sent] = counts.each_ref().map(|n| n.load(Ordering::Relaxed));
            match confirmed == sent {
                true => Ok(()),
                false => Err(format!("{confirmed} confirmed, {sent} sent")),
            }
        });
    });
}
