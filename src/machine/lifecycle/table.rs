//! The transition table. The lifecycle runs on it, the documentation's diagram
//! is generated from it, and the tests walk it.

use std::fmt::Write as _;

use crate::phase::Phase;

/// What moves a lifecycle on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A stop was asked for, with a lame duck time before the drain.
    StopWithLameDuck,
    /// A stop was asked for.
    Stop,
    /// The lame duck time is over.
    LameDuckOver,
    /// The time to settle is over, or nobody is left who could use it.
    Settled,
    /// Somebody asked for the abort, or the connections' time is over.
    Abort,
    /// The abort timeout is over, and something is still there.
    AbortTimeoutOver,
    /// A hook can start.
    HookDue,
    /// The running hook's time is over.
    HookTimeOver,
    /// Nobody is left, or what is left is abandoned, and every hook has ended.
    AllDone,
}

/// What a lifecycle does on a transition, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// `NotReady`.
    NotReady,
    /// `Enter` with the new phase.
    Enter,
    /// `StopAccepting` for each open listener.
    StopAccepting,
    /// `EndIdle`, where somebody could be idle.
    EndIdle,
    /// `CloseListener` for each listener that is not closed.
    CloseListeners,
    /// Counts what is left as abandoned.
    Abandon,
    /// `RunHook` for the next hook.
    RunHook,
    /// `CancelHook` for the running hook.
    CancelHook,
    /// `Complete` with the outcome.
    Complete,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transition {
    pub(crate) from: Phase,
    pub(crate) on: Event,
    pub(crate) to: Phase,
    pub(crate) effects: &'static [Effect],
}

const fn row(from: Phase, on: Event, to: Phase, effects: &'static [Effect]) -> Transition {
    Transition {
        from,
        on,
        to,
        effects,
    }
}

/// All transitions.
pub(crate) const TABLE: &[Transition] = {
    use Effect as E;
    use Event as On;
    use Phase::{Aborting, Draining, LameDuck, Running, Stopped};
    const DRAIN: &[Effect] = &[E::StopAccepting, E::Enter];
    const DRAIN_AT_ONCE: &[Effect] = &[E::NotReady, E::StopAccepting, E::Enter];
    const ABORT: &[Effect] = &[E::CloseListeners, E::Enter];
    &[
        row(
            Running,
            On::StopWithLameDuck,
            LameDuck,
            &[E::NotReady, E::Enter],
        ),
        row(Running, On::Stop, Draining, DRAIN_AT_ONCE),
        row(LameDuck, On::LameDuckOver, Draining, DRAIN),
        row(LameDuck, On::Abort, Aborting, ABORT),
        row(Draining, On::Settled, Draining, &[E::EndIdle]),
        row(Draining, On::Abort, Aborting, ABORT),
        row(Draining, On::HookDue, Draining, &[E::RunHook]),
        row(Draining, On::HookTimeOver, Draining, &[E::CancelHook]),
        row(Draining, On::AllDone, Stopped, &[E::Complete]),
        row(Aborting, On::AbortTimeoutOver, Aborting, &[E::Abandon]),
        row(Aborting, On::HookDue, Aborting, &[E::RunHook]),
        row(Aborting, On::HookTimeOver, Aborting, &[E::CancelHook]),
        row(Aborting, On::AllDone, Stopped, &[E::Complete]),
    ]
};

/// Returns the row for an event in a phase.
pub(super) fn transition(from: Phase, on: Event) -> Option<&'static Transition> {
    TABLE.iter().find(|row| row.from == from && row.on == on)
}

/// Returns the diagram of the documentation, in Markdown.
#[doc(hidden)]
pub fn diagram() -> String {
    let mut text = String::from(
        "Each arrow is an event; behind the phase that it leads to stands what is\n\
         done, in order. Where a phase has no arrow for an event, nothing happens.\n\
         \n```text\n",
    );
    let mut last = None;
    for row in TABLE {
        let mut from = format!("{:?}", row.from);
        if last == Some(row.from) {
            from.clear();
        } else if last.is_some() {
            text.push('\n');
        }
        last = Some(row.from);
        let (on, to) = (format!("{:?} ", row.on), format!("{:?}", row.to));
        let effects: Vec<_> = row.effects.iter().map(|e| format!("{e:?}")).collect();
        let effects = effects.join(", ");
        let _ = writeln!(text, "{from:8} -- {on:-<17}> {to:8} {effects}");
    }
    text.push_str("```\n");
    text
}
