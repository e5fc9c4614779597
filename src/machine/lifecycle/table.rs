//! The transition table. The lifecycle runs on it, the documentation's diagram
//! is generated from it, and the tests walk it.

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
    /// The time to settle is over for connections that are not in use.
    RoundOver,
    /// The time to settle is over, or nobody is left who could use it.
    Settled,
    /// Half of the connections' time is over.
    HalfTimeOver,
    /// Those that drain last have waited for others long enough.
    WaitOver,
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
    /// `EndUnused`.
    EndUnused,
    /// `EndIdle`, where somebody could be idle.
    EndIdle,
    /// `EndBusy`.
    EndBusy,
    /// `EndLast`.
    EndLast,
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
        row(Draining, On::RoundOver, Draining, &[E::EndUnused]),
        row(Draining, On::Settled, Draining, &[E::EndIdle]),
        row(Draining, On::HalfTimeOver, Draining, &[E::EndBusy]),
        row(Draining, On::WaitOver, Draining, &[E::EndLast]),
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::machine::lifecycle::{Config, Failed, Input, Lifecycle};
    use crate::signal::Signal;

    /// Returns the diagram of the documentation, in Markdown.
    fn diagram() -> String {
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
            writeln!(text, "{from:8} -- {on:-<18}> {to:8} {effects}").unwrap();
        }
        text.push_str("```\n");
        text
    }

    #[test]
    fn the_diagram_in_the_documentation_is_the_table() {
        let file = "src/machine/lifecycle/diagram.md";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("LAMEDUCK_BLESS").is_some() {
            std::fs::write(&path, diagram()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            diagram(),
            "refresh it: LAMEDUCK_BLESS=1 cargo test --lib diagram"
        );
    }

    #[test]
    fn no_two_rows_are_for_the_same_event_in_the_same_phase() {
        let mut rows = HashSet::new();
        for row in TABLE {
            assert!(rows.insert((row.from, row.on)), "{row:?}");
        }
    }

    #[test]
    fn s1_no_row_leads_back() {
        assert!(TABLE.iter().all(|row| row.from <= row.to));
    }

    #[test]
    fn s2_no_row_leads_out_of_stopped() {
        assert!(TABLE.iter().all(|row| row.from != Phase::Stopped));
    }

    /// Gives an input, and returns the rows that it takes.
    fn rows(lifecycle: &mut Lifecycle, millis: u64, input: Input) -> Vec<(Phase, Event)> {
        lifecycle.now = Duration::from_millis(millis);
        assert!(lifecycle.apply(input), "{input:?} at {millis} ms");
        let rows = std::iter::from_fn(|| lifecycle.advance());
        rows.map(|row| (row.from, row.on)).collect()
    }

    #[test]
    fn every_row_is_taken() {
        const FAILED: Result<(), Failed> = Err(Failed);
        let config = Config {
            lame_duck: Duration::from_millis(10),
            settle: Duration::from_millis(10),
            restart_settle: Duration::from_millis(10),
            ..Config::default()
        };
        let ms = |at: Duration| at.as_millis() as u64;
        let aborts = ms(config.grace_period - config.hook_reserve - config.abort_timeout);
        let abandons = ms(config.grace_period - config.hook_reserve);
        let end = ms(config.grace_period);
        let scripts: [&[(u64, Input)]; 6] = [
            // To the end, with a hook that ends and one that does not.
            &[
                (0, Input::Stop),
                (10, Input::Tick),
                (20, Input::Tick),
                (30, Input::ListenerClosed(0, Ok(()))),
                (30, Input::Emptied),
                (30, Input::HookDone(0, Ok(()))),
                (end, Input::Tick),
            ],
            // Abandoned.
            &[
                (0, Input::HandedOver),
                (0, Input::Stop),
                (aborts / 2, Input::Tick),
                (aborts / 4 * 3, Input::Tick),
                (aborts, Input::Tick),
                (abandons, Input::Tick),
                (abandons, Input::HookDone(0, FAILED)),
                (end, Input::Tick),
            ],
            // A restart.
            &[(0, Input::HandedOver), (10, Input::Tick)],
            // Aborted as a lame duck.
            &[(0, Input::Stop), (5, Input::Abort)],
            &[(0, Input::Abort)],
            &[
                (0, Input::ListenerClosed(0, Ok(()))),
                (0, Input::Signal(Signal::Quit)),
            ],
        ];
        let mut taken = HashSet::new();
        for script in scripts {
            let mut lifecycle = Lifecycle::new(config, 1, 2);
            for (millis, input) in script {
                taken.extend(rows(&mut lifecycle, *millis, *input));
            }
        }
        for row in TABLE {
            assert!(taken.contains(&(row.from, row.on)), "{row:?}");
        }
        assert_eq!(taken.len(), TABLE.len());
    }
}
