use lameduck_benches::servers::{Ended, tracker_tokio};

fn main() -> Ended {
    tracker_tokio()
}
