//! Output that waits for room, of what reads ahead meanwhile
//! ([F103](crate::docs::faults#f103)).

use std::cell::Cell;

thread_local! {
    /// A write to a session was pending in the look that this thread takes.
    static IS_WRITE_PENDING: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a write is pending. What looks on this thread has registered for it, as
/// part of the same poll.
pub(super) fn note_write() {
    IS_WRITE_PENDING.set(true);
}

/// Polls what may read and write, and returns whether a write was pending in it.
///
/// It does not matter whose write that is: what waits to pass something on to another
/// session holds it as well.
pub(super) fn look<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    let before = IS_WRITE_PENDING.replace(false);
    let polled = poll();
    let is_pending = IS_WRITE_PENDING.get();
    // Where one look is part of another, the outer one has seen the same.
    IS_WRITE_PENDING.set(before || is_pending);
    (polled, is_pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f103_a_look_within_another_hides_nothing_from_it() {
        let ((inner, later), outer) = look(|| {
            note_write();
            (look(|| ()).1, look(note_write).1)
        });
        assert!(!inner && later && outer);
        assert!(!look(|| ()).1, "each look begins anew");
    }
}
