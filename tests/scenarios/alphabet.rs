//! Everything that can happen to a server, as plain values: proptest, the
//! fuzzer and the scripts by hand all draw from these lists.

use std::time::Duration;

use lameduck::Signal;
use lameduck::rt::CloseGuarantee;

/// The most clients that a script has.
pub(crate) const CLIENTS: u8 = 10;

/// The machine and the server of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) guarantee: CloseGuarantee,
    pub(crate) poll_cost: Duration,
    pub(crate) latency: Duration,
    pub(crate) socket_buffer: usize,
    pub(crate) backlog: i32,
    pub(crate) connection_limit: usize,
    pub(crate) descriptor_limit: usize,
    pub(crate) lame_duck: Duration,
    pub(crate) settle: Duration,
    /// The time that the first hook takes; `Duration::MAX` hangs.
    pub(crate) hook: Duration,
    pub(crate) faults: Faults,
}

impl Setup {
    /// The simplest machine and server.
    pub(crate) const SIMPLE: Setup = Setup {
        seed: 0,
        guarantee: GUARANTEES[0],
        poll_cost: POLL_COSTS[0],
        latency: LATENCIES[0],
        socket_buffer: SOCKET_BUFFERS[0],
        backlog: BACKLOGS[0],
        connection_limit: LIMITS[0],
        descriptor_limit: LIMITS[0],
        lame_duck: WAITS[0],
        settle: WAITS[0],
        hook: HOOKS[0],
        faults: Faults::NONE,
    };
}

pub(crate) const GUARANTEES: [CloseGuarantee; 2] =
    [CloseGuarantee::Swept, CloseGuarantee::SynFiltered];
pub(crate) const POLL_COSTS: [Duration; 3] = [micros(1), micros(10), micros(100)];
pub(crate) const LATENCIES: [Duration; 3] = [micros(1), micros(100), micros(5000)];
pub(crate) const SOCKET_BUFFERS: [usize; 3] = [64 * 1024, 512, 3];
pub(crate) const BACKLOGS: [i32; 3] = [4096, 2, 1];
pub(crate) const LIMITS: [usize; 3] = [usize::MAX, 3, 1];
pub(crate) const WAITS: [Duration; 3] = [Duration::ZERO, micros(300), micros(20_000)];
/// At once, quick, slow, longer than its reserved time, and for ever.
pub(crate) const HOOKS: [Duration; 5] = [
    Duration::ZERO,
    micros(300),
    micros(20_000),
    micros(1_000_000),
    Duration::MAX,
];

/// The faults of the machine. Each comes by chance, one time in some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    /// EMFILE, ECONNABORTED and the like, from accept.
    pub(crate) accepts_fail: bool,
    /// Segments take a hundred times as long.
    pub(crate) slow_segments: bool,
    /// The end of a handshake arrives late.
    pub(crate) late_handshakes: bool,
    /// The system does not say how many handshakes are under way.
    pub(crate) hidden_handshakes: bool,
    /// Timers fire late.
    pub(crate) late_timers: bool,
    /// Tasks run late, or twice.
    pub(crate) odd_wakes: bool,
    /// Signals come twice, or late.
    pub(crate) odd_signals: bool,
    /// Reads and writes are told to come back later.
    pub(crate) forced_yields: bool,
}

/// The number of different faults.
pub(crate) const FAULTS: usize = 8;

impl Faults {
    pub(crate) const NONE: Faults = Faults::of([false; FAULTS]);

    pub(crate) const fn of(flags: [bool; FAULTS]) -> Faults {
        let [
            accepts_fail,
            slow_segments,
            late_handshakes,
            hidden_handshakes,
            late_timers,
            odd_wakes,
            odd_signals,
            forced_yields,
        ] = flags;
        Faults {
            accepts_fail,
            slow_segments,
            late_handshakes,
            hidden_handshakes,
            late_timers,
            odd_wakes,
            odd_signals,
            forced_yields,
        }
    }

    fn flags(self) -> [bool; FAULTS] {
        [
            self.accepts_fail,
            self.slow_segments,
            self.late_handshakes,
            self.hidden_handshakes,
            self.late_timers,
            self.odd_wakes,
            self.odd_signals,
            self.forced_yields,
        ]
    }
}

/// Something that happens. The number is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Connect,
    /// The client sends a request.
    Ask(u8, Ask),
    /// The client sends half of a request; its next request completes it.
    AskHalf(u8),
    /// The client reads the answers that it is owed.
    Read(u8),
    HalfClose(u8),
    /// The client closes, whatever is still to come.
    CloseNow(u8),
    Reset(u8),
    /// The client neither reads nor closes any more.
    Stall(u8),
    Signal(Signal),
    /// The signal comes in the middle of a poll.
    SignalInPoll(Signal),
    /// The program asks for the stop.
    Stop,
    Abort,
    /// The server does not run for so many milliseconds.
    Freeze(u16),
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Echo,
    /// An answer of several KiB.
    Much,
    /// An answer that takes so many milliseconds.
    Slow(u8),
    /// The handler panics.
    Panic,
    /// The handler returns an error.
    Fail,
    /// The handler never ends.
    Hang,
}

/// All actions, those on a client for the client 0. What is more frequent
/// stands here more than once.
pub(crate) const ACTIONS: [Action; 24] = [
    Action::Connect,
    Action::Connect,
    Action::Connect,
    Action::Ask(0, Ask::Echo),
    Action::Ask(0, Ask::Much),
    Action::Ask(0, Ask::Slow(1)),
    Action::Ask(0, Ask::Slow(60)),
    Action::Ask(0, Ask::Panic),
    Action::Ask(0, Ask::Fail),
    Action::Ask(0, Ask::Hang),
    Action::AskHalf(0),
    Action::Read(0),
    Action::HalfClose(0),
    Action::CloseNow(0),
    Action::Reset(0),
    Action::Stall(0),
    Action::Signal(Signal::Terminate),
    Action::Signal(Signal::Interrupt),
    Action::SignalInPoll(Signal::Terminate),
    Action::Stop,
    Action::Abort,
    Action::Freeze(60),
    Action::Freeze(3000),
    Action::Ask(0, Ask::Echo),
];

impl Action {
    /// Returns the client, if it is an action on one.
    pub(crate) fn client(self) -> Option<u8> {
        match self {
            Action::Ask(client, _)
            | Action::AskHalf(client)
            | Action::Read(client)
            | Action::HalfClose(client)
            | Action::CloseNow(client)
            | Action::Reset(client)
            | Action::Stall(client) => Some(client),
            _ => None,
        }
    }

    /// Returns the same action on another client.
    pub(crate) fn on(self, client: u8) -> Action {
        match self {
            Action::Ask(_, ask) => Action::Ask(client, ask),
            Action::AskHalf(_) => Action::AskHalf(client),
            Action::Read(_) => Action::Read(client),
            Action::HalfClose(_) => Action::HalfClose(client),
            Action::CloseNow(_) => Action::CloseNow(client),
            Action::Reset(_) => Action::Reset(client),
            Action::Stall(_) => Action::Stall(client),
            other => other,
        }
    }
}

/// An action, after so many steps of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) after: u16,
    pub(crate) action: Action,
}

pub(crate) const AFTERS: [u16; 6] = [0, 1, 3, 10, 50, 400];

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// The number of bytes of a setup: its choices, and the seed.
const SETUP_BYTES: usize = 11 + 4;
pub(crate) const MOST_STEPS: usize = 24;
pub(crate) const MOST_BYTES: usize = SETUP_BYTES + 2 * MOST_STEPS;

/// Reads a script from bytes: any bytes are one, and what is missing is the
/// simplest there is.
pub(crate) fn decode(bytes: &[u8]) -> (Setup, Vec<Step>) {
    let (head, tail) = bytes.split_at(bytes.len().min(SETUP_BYTES));
    let byte = |at: usize| head.get(at).copied().unwrap_or(0);
    let flags = std::array::from_fn(|bit| byte(10) >> bit & 1 == 1);
    let setup = Setup {
        seed: (11..SETUP_BYTES).fold(0, |seed, at| seed << 8 | u64::from(byte(at))),
        guarantee: pick(&GUARANTEES, byte(0)),
        poll_cost: pick(&POLL_COSTS, byte(1)),
        latency: pick(&LATENCIES, byte(2)),
        socket_buffer: pick(&SOCKET_BUFFERS, byte(3)),
        backlog: pick(&BACKLOGS, byte(4)),
        connection_limit: pick(&LIMITS, byte(5)),
        descriptor_limit: pick(&LIMITS, byte(6)),
        lame_duck: pick(&WAITS, byte(7)),
        settle: pick(&WAITS, byte(8)),
        hook: pick(&HOOKS, byte(9)),
        faults: Faults::of(flags),
    };
    let steps = tail.chunks_exact(2).take(MOST_STEPS).map(|pair| Step {
        after: pick(&AFTERS, pair[0]),
        action: pick(&ACTIONS, pair[1]).on((pair[0] / AFTERS.len() as u8) % CLIENTS),
    });
    (setup, steps.collect())
}

/// Writes the bytes of a script, which has to be made of what the lists have.
pub(crate) fn encode(setup: &Setup, steps: &[Step]) -> Vec<u8> {
    let flags = setup.faults.flags().into_iter().enumerate();
    let flags = flags.map(|(bit, flag)| u8::from(flag) << bit).sum();
    let mut bytes = vec![
        place(&GUARANTEES, &setup.guarantee),
        place(&POLL_COSTS, &setup.poll_cost),
        place(&LATENCIES, &setup.latency),
        place(&SOCKET_BUFFERS, &setup.socket_buffer),
        place(&BACKLOGS, &setup.backlog),
        place(&LIMITS, &setup.connection_limit),
        place(&LIMITS, &setup.descriptor_limit),
        place(&WAITS, &setup.lame_duck),
        place(&WAITS, &setup.settle),
        place(&HOOKS, &setup.hook),
        flags,
    ];
    let seed = u32::try_from(setup.seed).expect("a seed of the fuzzer has four bytes");
    bytes.extend(seed.to_be_bytes());
    for step in steps {
        let client = step.action.client().unwrap_or(0);
        let after = place(&AFTERS, &step.after) + client * AFTERS.len() as u8;
        bytes.extend([after, place(&ACTIONS, &step.action.on(0))]);
    }
    bytes
}

fn pick<T: Copy>(list: &[T], byte: u8) -> T {
    list[usize::from(byte) % list.len()]
}

fn place<T: PartialEq + std::fmt::Debug>(list: &[T], value: &T) -> u8 {
    let place = list.iter().position(|known| known == value);
    place.unwrap_or_else(|| panic!("{value:?} is not in the list")) as u8
}
