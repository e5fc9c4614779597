//! The only file that names `std::sync` or `loom`.
//!
//! The switch is on `test` as well as on the feature, so that no dependent can
//! ever be built with a modelled atomic.

#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic::AtomicUsize, atomic::Ordering};
#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic::AtomicUsize, atomic::Ordering};

/// Locks, and goes on after a panic of another holder.
///
/// Every critical section in this crate leaves its data whole at each point
/// where foreign code could panic, so poison carries no news.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// For what no model exercises: the same under every feature.
pub(crate) mod plain {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
    pub(crate) use std::sync::{Arc, Mutex};

    /// Locks, and goes on after a panic of another holder.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
