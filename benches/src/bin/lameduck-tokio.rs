use lameduck_benches::servers::{Ended, lameduck_tokio};

fn main() -> Ended {
    lameduck_tokio()
}
