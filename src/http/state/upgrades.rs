//! The methods of the state for upgrades, which requests of HTTP/1 alone ask for.

use hyper::upgrade::OnUpgrade;

use super::State;
use crate::http::upgrade::UpgradeWork;
use crate::sync::plain::{Ordering, lock};

#[derive(Default)]
pub(super) struct Upgrades {
    /// The future of the last request that asked for an upgrade. hyper gives the connection
    /// to it when the connection ends, even where the response has refused the upgrade.
    last: Option<OnUpgrade>,
    /// The work that runs after an upgrade. It is in a box, since few connections have any.
    work: Option<Box<UpgradeWork>>,
}

impl State {
    /// Notes which future hyper may give the connection to.
    pub(super) fn set_upgrade(&self, upgrade: Option<OnUpgrade>) {
        if let Some(upgrades) = self.upgrades() {
            lock(upgrades).last = upgrade;
        }
    }

    /// Returns whether hyper may give the connection away any moment, without what it has
    /// not written yet, and although no response has upgraded it.
    pub(crate) fn is_given_away(&self) -> bool {
        let is_told = self.is_told.load(Ordering::Relaxed);
        (is_told || self.is_last())
            && self.in_flight() == 0
            && self
                .upgrades()
                .is_some_and(|upgrades| lock(upgrades).last.is_some())
    }

    /// Takes the future that such a connection is given to.
    pub(crate) fn take_refused_upgrade(&self) -> Option<OnUpgrade> {
        lock(self.upgrades()?).last.take()
    }

    /// Leaves what is to run after an upgrade; gives it back where there can be none.
    pub(crate) fn leave_work(&self, work: Box<UpgradeWork>) -> Result<(), Box<UpgradeWork>> {
        let Some(upgrades) = self.upgrades() else {
            return Err(work);
        };
        let mut upgrades = lock(upgrades);
        // Written under the lock.
        if self.has_ended.load(Ordering::Relaxed) {
            return Err(work);
        }
        let before = upgrades.work.replace(work);
        drop(upgrades);
        drop(before);
        Ok(())
    }

    /// Notes the end of hyper's connection, and gives up what there is of upgrades.
    pub(crate) fn end_upgrades(&self) {
        if let Some(upgrades) = self.upgrades() {
            let mut upgrades = lock(upgrades);
            self.has_ended.store(true, Ordering::Relaxed);
            let left = std::mem::take(&mut *upgrades);
            drop(upgrades);
            drop(left);
        }
    }

    /// Takes what is to run after the upgrade.
    pub(crate) fn take_work(&self) -> Option<Box<UpgradeWork>> {
        lock(self.upgrades()?).work.take()
    }
}
