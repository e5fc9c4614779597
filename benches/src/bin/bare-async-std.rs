use lameduck_benches::servers::{Ended, bare_async_std};

fn main() -> Ended {
    bare_async_std()
}
