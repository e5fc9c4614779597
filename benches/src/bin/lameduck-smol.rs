use lameduck_benches::servers::{Ended, lameduck_smol};

fn main() -> Ended {
    lameduck_smol()
}
