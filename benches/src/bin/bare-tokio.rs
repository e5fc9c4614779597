use lameduck_benches::servers::{Ended, bare_tokio};

fn main() -> Ended {
    bare_tokio()
}
