use lameduck_benches::servers::{Ended, graceful_tokio};

fn main() -> Ended {
    graceful_tokio()
}
