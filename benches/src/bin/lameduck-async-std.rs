use lameduck_benches::servers::{Ended, lameduck_async_std};

fn main() -> Ended {
    lameduck_async_std()
}
