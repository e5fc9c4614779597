//! The only file that names `std::sync` or `loom`.
//!
//! The switch is on `test` as well as on the feature, so that no dependent can
//! ever be built with a modelled atomic.

#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard, atomic::AtomicU32, atomic::AtomicUsize, atomic::Ordering,
};
#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, atomic::AtomicU32, atomic::AtomicUsize, atomic::Ordering,
};

/// A look at the gate: the simulation does here what other processors may have
/// done meanwhile, as loom does in its atomics.
#[cfg(all(feature = "sim", not(all(test, feature = "loom"))))]
pub(crate) use crate::sim::executor::look;

/// A look at the gate: outside of a simulation there is nothing to do before it.
#[cfg(not(all(feature = "sim", not(all(test, feature = "loom")))))]
#[inline]
pub(crate) fn look() {}

/// Locks, and goes on after a panic of another holder.
///
/// Every critical section in this crate leaves its data whole at each point
/// where foreign code could panic, so poison tells nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// For what no model exercises: the same under every feature.
pub(crate) mod plain {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
    #[cfg(any(feature = "conformance", feature = "handover"))]
    pub(crate) use std::sync::mpsc;
    pub(crate) use std::sync::{Arc, Mutex};

    /// Locks, and goes on after a panic of another holder.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
