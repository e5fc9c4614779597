//! Everything that can happen to a server, as plain values: proptest, the
//! fuzzer and the scenarios by hand all draw from these lists.

use std::time::Duration;

use lameduck::rt::CloseGuarantee;

/// The most clients that a script has.
pub(crate) const CLIENTS: u8 = 10;

/// What a run begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) guarantee: CloseGuarantee,
    pub(crate) turn: Duration,
    pub(crate) latency: Duration,
    pub(crate) buffers: usize,
    pub(crate) backlog: i32,
    pub(crate) limit: usize,
    pub(crate) notice: Duration,
    pub(crate) settle: Duration,
    pub(crate) hook: Duration,
    pub(crate) faults: Faults,
}

pub(crate) const GUARANTEES: [CloseGuarantee; 2] =
    [CloseGuarantee::Swept, CloseGuarantee::SynFiltered];
pub(crate) const TURNS: [Duration; 3] = [micros(1), micros(10), micros(100)];
pub(crate) const LATENCIES: [Duration; 3] = [micros(1), micros(100), micros(5000)];
pub(crate) const BUFFERS: [usize; 3] = [64 * 1024, 512, 3];
pub(crate) const BACKLOGS: [i32; 3] = [4096, 2, 1];
pub(crate) const LIMITS: [usize; 3] = [usize::MAX, 3, 1];
pub(crate) const WAITS: [Duration; 3] = [Duration::ZERO, micros(300), micros(20_000)];

/// Which faults the machine has. Each comes by chance, one time in some.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// EMFILE, ECONNABORTED and the like, from accept.
    pub(crate) accepts_fail: bool,
    /// Segments take a hundred times as long.
    pub(crate) slow_segments: bool,
    /// Timers fire late.
    pub(crate) late_ticks: bool,
    /// Tasks run late, or twice.
    pub(crate) odd_wakes: bool,
    /// Signals come twice, or late.
    pub(crate) odd_signals: bool,
}

/// What happens. The number says to which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Connect,
    /// A request, and what it asks for.
    Ask(u8, Ask),
    /// Half of a request; the next one completes it.
    Half(u8),
    /// It reads the answers that it is owed.
    Read(u8),
    HalfClose(u8),
    /// It goes away without a word.
    Leave(u8),
    Reset(u8),
    /// It neither reads nor closes any more.
    Stall(u8),
    Signal,
    /// The program asks.
    Stop,
    Escalate,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Echo,
    /// An answer of several KiB.
    Much,
    /// An answer that takes so many milliseconds.
    Slow(u8),
    /// That the handler panics, fails, or never comes to an end.
    Panic,
    Fail,
    Hang,
}

pub(crate) const ASKS: [Ask; 7] = [
    Ask::Echo,
    Ask::Much,
    Ask::Slow(1),
    Ask::Slow(60),
    Ask::Panic,
    Ask::Fail,
    Ask::Hang,
];

/// An act, after so many steps of the simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) after: u16,
    pub(crate) act: Act,
}

pub(crate) const AFTERS: [u16; 6] = [0, 1, 3, 10, 50, 400];

/// The acts on one client, by number.
pub(crate) const ACTS: usize = 18;

pub(crate) fn act(number: usize, client: u8) -> Act {
    match number {
        0..3 => Act::Connect,
        3..10 => Act::Ask(client, ASKS[number - 3]),
        10 => Act::Half(client),
        11 => Act::Read(client),
        12 => Act::HalfClose(client),
        13 => Act::Leave(client),
        14 => Act::Reset(client),
        15 => Act::Stall(client),
        16 => Act::Signal,
        _ if client % 2 == 0 => Act::Stop,
        _ => Act::Escalate,
    }
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A setup of so many bytes, then two for each step.
pub(crate) const SETUP_BYTES: usize = 14;
pub(crate) const MOST_STEPS: usize = 24;
pub(crate) const MOST_BYTES: usize = SETUP_BYTES + 2 * MOST_STEPS;

/// Any bytes are a script; what is missing is the simplest there is.
pub(crate) fn decode(bytes: &[u8]) -> (Setup, Vec<Step>) {
    let (head, tail) = bytes.split_at(bytes.len().min(SETUP_BYTES));
    let byte = |at: usize| head.get(at).copied().unwrap_or(0);
    let flag = |bit: u8| byte(9) >> bit & 1 == 1;
    let seed = (10..SETUP_BYTES).fold(0, |seed, at| seed << 8 | u64::from(byte(at)));
    let setup = Setup {
        seed,
        guarantee: pick(&GUARANTEES, byte(0)),
        turn: pick(&TURNS, byte(1)),
        latency: pick(&LATENCIES, byte(2)),
        buffers: pick(&BUFFERS, byte(3)),
        backlog: pick(&BACKLOGS, byte(4)),
        limit: pick(&LIMITS, byte(5)),
        notice: pick(&WAITS, byte(6)),
        settle: pick(&WAITS, byte(7)),
        hook: pick(&WAITS, byte(8)),
        faults: Faults {
            accepts_fail: flag(0),
            slow_segments: flag(1),
            late_ticks: flag(2),
            odd_wakes: flag(3),
            odd_signals: flag(4),
        },
    };
    let steps = tail.chunks_exact(2).take(MOST_STEPS).map(|pair| Step {
        after: pick(&AFTERS, pair[0]),
        act: act(
            usize::from(pair[1]) % ACTS,
            (pair[0] / AFTERS.len() as u8) % CLIENTS,
        ),
    });
    (setup, steps.collect())
}

fn pick<T: Copy>(list: &[T], byte: u8) -> T {
    list[usize::from(byte) % list.len()]
}
