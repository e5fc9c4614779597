//! The transition table. The machine runs on it, the documentation's diagram
//! is generated from it, and the tests walk it.

use std::fmt::Write as _;

use super::Stage;

/// What moves the machine from one stage to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A stop was asked for, and notice is to be given.
    StopWithNotice,
    /// A stop was asked for.
    Stop,
    /// The time of the notice is over.
    NoticeOver,
    /// All listeners are closed.
    ListenersClosed,
    /// The time of the sweep is over, and a listener is still open.
    SweepOver,
    /// Someone will not wait any longer.
    Escalated,
    /// The grace is over.
    GraceOver,
    /// Nobody lives and every hook has run.
    AllDone,
    /// The force margin is over, and something is still not gone.
    MarginOver,
}

/// What the machine says on a transition, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// `SetReady(false)`.
    NotReady,
    /// `Notify` with the new stage.
    Notify,
    /// `Quiesce` for each open listener.
    QuiesceAll,
    /// `Drain`, or `Settle` when there is time to settle first.
    Settle,
    /// `Drain`, unless it was said, or nobody lives.
    Drain,
    /// `CloseListener` for each that was not yet told to close.
    CloseAll,
    /// `Abort`, unless nobody lives.
    Abort,
    /// `Complete` with the outcome.
    Complete,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    /// The stage that is left.
    pub from: Stage,
    /// What happens.
    pub on: Event,
    /// The stage that is entered.
    pub to: Stage,
    /// What the machine says.
    pub effects: &'static [Effect],
}

const fn row(from: Stage, on: Event, to: Stage, effects: &'static [Effect]) -> Transition {
    Transition {
        from,
        on,
        to,
        effects,
    }
}

const NOTICE: &[Effect] = &[Effect::NotReady, Effect::Notify];
const QUIESCE: &[Effect] = &[Effect::Notify, Effect::QuiesceAll, Effect::Settle];
const QUIESCE_AT_ONCE: &[Effect] = &[
    Effect::NotReady,
    Effect::Notify,
    Effect::QuiesceAll,
    Effect::Settle,
];
const FINISH: &[Effect] = &[Effect::CloseAll, Effect::Notify];
const FORCE: &[Effect] = &[
    Effect::Notify,
    Effect::Drain,
    Effect::CloseAll,
    Effect::Abort,
];
const STOPPED: &[Effect] = &[Effect::Complete];

/// Every transition that there is.
///
/// ```
/// use lameduck::machine::{Stage, TABLE};
///
/// let last: Vec<_> = TABLE.iter().filter(|row| row.to == Stage::Stopped).collect();
/// assert!(last.iter().all(|row| row.from >= Stage::Finish));
/// ```
pub const TABLE: &[Transition] = {
    use Event::*;
    use Stage::*;
    &[
        row(Running, StopWithNotice, Notice, NOTICE),
        row(Running, Stop, Quiesce, QUIESCE_AT_ONCE),
        row(Notice, NoticeOver, Quiesce, QUIESCE),
        row(Notice, Escalated, Force, FORCE),
        row(Notice, GraceOver, Force, FORCE),
        row(Quiesce, ListenersClosed, Finish, FINISH),
        row(Quiesce, SweepOver, Finish, FINISH),
        row(Quiesce, Escalated, Force, FORCE),
        row(Quiesce, GraceOver, Force, FORCE),
        row(Finish, AllDone, Stopped, STOPPED),
        row(Finish, Escalated, Force, FORCE),
        row(Finish, GraceOver, Force, FORCE),
        row(Force, AllDone, Stopped, STOPPED),
        row(Force, MarginOver, Stopped, STOPPED),
    ]
};

/// The table's line for an event in a stage.
pub(super) fn transition(from: Stage, on: Event) -> Option<&'static Transition> {
    TABLE.iter().find(|row| row.from == from && row.on == on)
}

/// The diagram of the documentation, in Markdown.
///
/// ```
/// println!("{}", lameduck::machine::diagram());
/// ```
pub fn diagram() -> String {
    let mut text = String::from(
        "Each arrow is an [`Event`]; after the stage that it leads to stand its\n\
         [`Effect`]s, in their order. Where an event has no arrow, the stage stays.\n\
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
