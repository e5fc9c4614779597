//! Orphans of what this tool has started. They become children of this process, and so
//! they are known without a mark: a daemon that gives itself a title overwrites its
//! environment, where the mark stands. Linux only; elsewhere nothing is ever adopted.

use std::collections::HashSet;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::procfs::{self, Born};

/// The children that this process has started itself; none before it adopts any. The lock
/// is held while one is started, so that nobody takes it for an adopted one.
static OWN: Mutex<Option<HashSet<Born>>> = Mutex::new(None);

fn own() -> MutexGuard<'static, Option<HashSet<Born>>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has this process adopt the orphans of all that it starts from now on.
pub(super) fn begin() {
    let mut own = own();
    if own.is_none() && adopt() {
        *own = Some(HashSet::new());
    }
}

/// Starts a child. Every child of a process that adopts has to be started by this.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut own = own();
    let child = command.spawn()?;
    // One that has ended is still there, as nobody has waited for it.
    let born = i32::try_from(child.id()).ok().and_then(procfs::born);
    if let (Some(own), Some(born)) = (own.as_mut(), born) {
        own.insert(born);
    }
    Ok(child)
}

/// Returns the living processes that were adopted, and all that descend from them.
pub(super) fn all() -> Vec<Born> {
    let own = own();
    match own.as_ref() {
        Some(own) => procfs::families(&of_this_process(own, false)),
        None => Vec::new(),
    }
}

/// Returns the children of this process that it has not started, alive or ended.
fn of_this_process(own: &HashSet<Born>, have_ended: bool) -> Vec<Born> {
    let mut children = procfs::children(have_ended).unwrap_or_default();
    children.retain(|child| !own.contains(child));
    children
}

/// Makes this process the parent of orphans. Says whether it is.
#[cfg(target_os = "linux")]
fn adopt() -> bool {
    use async_signal::{Signal, Signals};
    use rustix::process::{getpid, set_child_subreaper};
    use smol::stream::StreamExt;

    // Without a usable /proc nobody could tell the adopted ones from its own.
    if procfs::born(getpid().as_raw_nonzero().get()).is_none() {
        return false;
    }
    // First: one that is adopted has to be waited for.
    let Ok(mut ends) = Signals::new([Signal::Child]) else {
        return false;
    };
    // Any number is a yes.
    if set_child_subreaper(Some(getpid())).is_err() {
        return false;
    }
    let reap = async move {
        while ends.next().await.is_some() {
            reap();
        }
    };
    smol::spawn(reap).detach();
    true
}

#[cfg(not(target_os = "linux"))]
fn adopt() -> bool {
    false
}

/// Waits for the adopted ones that have ended, as the first process of the system would:
/// a stop command may look whether they are still there.
#[cfg(target_os = "linux")]
fn reap() {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let own = own();
    let Some(own) = own.as_ref() else {
        return;
    };
    for ended in of_this_process(own, true) {
        if let Some(pid) = Pid::from_raw(ended.pid) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::Pid(pid), options);
        }
    }
}
