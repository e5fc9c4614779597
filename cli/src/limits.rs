//! The descriptor limits, of this process and of the servers.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What this process was started with; the servers get the same.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// A client could not connect for want of a descriptor.
static IS_EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// Each client takes one descriptor; this is for everything else.
const SPARE: u64 = 64;

/// Allows this process as many descriptors as it may have.
pub(crate) fn raise() {
    let original = *ORIGINAL.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: original.maximum,
        ..original
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the descriptor limit stays as it is: {error}");
    }
}

/// Runs `spawn` under the limit that this process was started with, so that a
/// server sees what it would see without this tool.
pub(crate) fn with_original<T>(spawn: impl FnOnce() -> T) -> T {
    let Some(original) = ORIGINAL.get() else {
        return spawn();
    };
    let lowered = setrlimit(Resource::Nofile, *original);
    let result = spawn();
    if lowered.is_ok() {
        raise();
    }
    result
}

/// Refuses a number of clients that cannot work.
pub(crate) fn check(connections: usize) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = connections as u64 + SPARE;
    if connections == 0 {
        return Err("at least one connection is needed".to_owned());
    }
    if wanted > limit {
        return Err(format!(
            "{connections} connections need {wanted} descriptors, and the limit is {limit}: \
             see `ulimit -Hn`"
        ));
    }
    Ok(())
}

/// Looks whether it is this process that has no descriptor for a client.
pub(crate) fn note(error: &io::Error) {
    let number = Errno::from_io_error(error);
    if matches!(number, Some(Errno::MFILE | Errno::NFILE)) {
        // Relaxed: the reader waits for all clients before it reads this.
        IS_EXHAUSTED.store(true, Ordering::Relaxed);
    }
}

/// Returns what is to be said if a client could not connect for want of a descriptor since
/// the last call.
pub(crate) fn exhausted() -> Option<String> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    IS_EXHAUSTED.swap(false, Ordering::Relaxed).then(|| {
        format!(
            "the tool itself has run out of descriptors, so that not all of its clients could \
             connect: its limit is {limit} (see `ulimit -Hn`), and --connections can ask for fewer"
        )
    })
}
