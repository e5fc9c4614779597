//! The fuzzer's seeds: scripts that tests run, written as the bytes from which
//! a fuzz target reads them.

use std::path::Path;

/// Asserts that the folder of a fuzz target's corpus has these seeds, and no
/// other. With `LAMEDUCK_BLESS=1` it writes them.
pub(crate) fn assert_seeds(target: &str, seeds: &[(&str, Vec<u8>)]) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        return println!("skipped: the published package has no fuzzing");
    }
    let folder = fuzz.join("corpus").join(target);
    if std::env::var_os("LAMEDUCK_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            std::fs::write(folder.join(name).with_extension("seed"), bytes).unwrap();
        }
    }
    for (name, bytes) in seeds {
        let path = folder.join(name).with_extension("seed");
        assert!(
            std::fs::read(&path).is_ok_and(|found| found == *bytes),
            "{path:?} is not what the script gives\n\
             refresh it: LAMEDUCK_BLESS=1 cargo test --test machine seeds"
        );
    }
    let found = std::fs::read_dir(&folder).unwrap();
    let is_seed =
        |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|e| e == "seed");
    let found = found.filter(|entry| entry.as_ref().is_ok_and(is_seed));
    assert_eq!(
        found.count(),
        seeds.len(),
        "seeds without a script in {folder:?}"
    );
}
