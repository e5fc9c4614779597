use super::*;

#[test]
fn l3_what_is_due_comes_in_order_and_once() {
    let ms = Duration::from_millis;
    let mut deadlines = Deadlines {
        of: vec![None; 3],
        ..Deadlines::default()
    };
    assert_eq!((deadlines.next(), deadlines.pop_due(ms(9))), (None, None));
    for (id, at) in [(0, 7), (1, 5), (2, 6), (0, 8)] {
        deadlines.set(id, Some(ms(at)));
    }
    assert_eq!(
        (deadlines.next(), deadlines.pop_due(ms(4))),
        (Some(ms(5)), None)
    );
    // At its very moment it is due.
    assert_eq!(
        (deadlines.pop_due(ms(5)), deadlines.pop_due(ms(5))),
        (Some(1), None)
    );
    deadlines.set(2, None);
    assert_eq!(
        (deadlines.next(), deadlines.pop_due(ms(7))),
        (Some(ms(8)), None)
    );
    assert_eq!(
        (deadlines.pop_due(ms(9)), deadlines.pop_due(ms(9))),
        (Some(0), None)
    );
}

#[cfg(feature = "smol")]
mod of_smol {
    use std::time::Instant;

    use super::*;
    use crate::address::Address;
    use crate::options::ListenOptions;
    use crate::runtimes::smol::Smol;
    use crate::server::listener::Origin;
    use crate::server::table::ConnectionTable;

    fn listeners(count: usize) -> Listeners<Smol> {
        let address = Address::from(([127, 0, 0, 1], 0));
        let tasks = (0..count).map(|_| {
            let listener = Smol.bind(&address, &ListenOptions::new()).unwrap();
            ListenerTask::new(listener, Origin::Bound, Default::default())
        });
        Listeners::new(tasks.collect())
    }

    #[test]
    fn f10_all_are_closed_once_the_last_one_is_and_each_counts_once() {
        let (mut listeners, clock) = (listeners(3), Clock::new(Smol));
        let table = ConnectionTable::new(Instant::now());
        let limit = Limit {
            connections: None,
            table: &table,
        };
        for id in [2, 0] {
            assert!(
                listeners
                    .close_now(id, &clock)
                    .is_some_and(|closed| closed.is_ok())
            );
            assert!(listeners.close_now(id, &clock).is_none());
            // One that is closed has nothing more to do.
            assert!(matches!(
                listeners.poll(id, &clock, limit),
                Accepted::Nothing
            ));
            assert!(!listeners.all_closed());
        }
        listeners.stop_accepting(1, clock.now(), SocketSharing::Exclusive);
        let begun = Instant::now();
        while !listeners.all_closed() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it is never closed"
            );
            listeners.collect(&clock);
            while let Some(id) = listeners.next() {
                let _ = listeners.poll(id, &clock, limit);
            }
            listeners.poll_handshakes(&clock);
            listeners.poll_timer(&clock, &mut Context::from_waker(Waker::noop()));
        }
        assert_eq!(listeners.open, 0);
        assert!(listeners.close_now(1, &clock).is_none());
    }

    #[test]
    fn who_waits_at_the_limit_waits_once_and_the_longest_is_first() {
        let (mut listeners, clock) = (listeners(2), Clock::new(Smol));
        let table = ConnectionTable::new(Instant::now());
        let limit = |most| Limit {
            connections: Some(most),
            table: &table,
        };
        for id in [1, 0, 1, 0, 1] {
            let polled = listeners.poll(id, &clock, limit(0));
            assert!(matches!(polled, Accepted::AtLimit));
        }
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(listeners.next_at_limit(limit(0), cx), None);
        let next = |_| listeners.next_at_limit(limit(1), cx);
        assert_eq!([1, 2, 3].map(next), [Some(1), Some(0), None]);
    }

    struct Driver;

    impl Wake for Driver {
        fn wake(self: Arc<Self>) {}
    }

    /// Else a driver would hold itself: by its waker, which a listener's waker
    /// holds, which a reactor or the listener holds.
    #[test]
    fn a_waker_that_outlives_the_listeners_does_not_hold_the_driver() {
        let mut listeners = listeners(1);
        let driver = Arc::new(Driver);
        listeners.begin_poll(&mut Context::from_waker(&driver.clone().into()));
        let kept = listeners.wakers[0].clone();
        assert_eq!(Arc::strong_count(&driver), 2);
        drop(listeners);
        assert_eq!(Arc::strong_count(&driver), 1);
        drop(kept);
    }
}
