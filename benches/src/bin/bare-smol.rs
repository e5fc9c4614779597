use lameduck_benches::servers::{Ended, bare_smol};

fn main() -> Ended {
    bare_smol()
}
