use lameduck_benches::servers::{Ended, swansong_smol};

fn main() -> Ended {
    swansong_smol()
}
