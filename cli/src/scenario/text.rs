//! What each scenario finds, why it happens, and what cures it.

use super::Scenario;

impl Scenario {
    /// A paragraph for people; `docs/check.md` holds the same.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Scenario::Frozen => FROZEN,
            Scenario::Storm => STORM,
            Scenario::SlowReader => SLOW_READER,
            Scenario::HalfRequest => HALF_REQUEST,
            Scenario::Idle => IDLE,
            Scenario::Silent => SILENT,
            Scenario::Stubborn => STUBBORN,
            Scenario::SecondSignal => SECOND_SIGNAL,
            Scenario::Flood => FLOOD,
            Scenario::Descriptors => DESCRIPTORS,
            Scenario::Exit => EXIT,
        }
    }
}

const FROZEN: &str = "\
The server is halted with SIGSTOP. Requests are written on connections that it has served \
before, and on new ones, which wait in its accept queue; then it gets the stop signal and may \
run on. Everything had arrived before the stop, so everything must be answered, and nothing \
here is left to chance. It finds servers that close their listener without accepting what waits \
there, which makes the kernel reset it (F1), that lose a connection between accepting and \
counting it (F8), and that look at the stop before they look at their input. Cure: accept until \
the queue is empty and then close at once; read until a read would block before ending an idle \
connection.";

const STORM: &str = "\
Half of the clients send a request as soon as they have the last answer, half connect anew for \
each one, and the signal comes at a moment that differs from round to round. It finds what \
happens in the narrow places: the accept queue (F1), handshakes that end just before the close \
of the listener (F2), requests that race the close of an idle connection (F17). A message \
counts as lost only if its write had returned before the signal was sent. Cure: sweep the \
queue, let readable input win over the stop, and half-close and read on for a moment instead of \
closing at once.";

const SLOW_READER: &str = "\
Clients ask for much, and read it only after the signal, slowly. What the server had taken must \
come back whole, with an orderly end. It finds servers that close a socket with unread input or \
with SO_LINGER 0, which sends a reset that destroys the output under way (F16, F23), and \
servers that exit before it was delivered (F24). Cure: half-close, then discard input until the \
peer ends or is quiet, then close. HTTP needs a response that is larger than the socket buffers \
(--large-path); with a smaller one nothing can be seen.";

const HALF_REQUEST: &str = "\
Half of a request comes before the signal, the rest after it. An HTTP server knows that the \
request is not whole, so the client must get its whole response. An echo server cannot know: it \
must answer the first half and may end then, but in an orderly way, although the rest is coming \
just then (F17). It finds servers that take a connection for idle because no request is being \
handled yet (F27), and those whose close becomes a reset (F16). Cure: a connection is busy from \
the first byte of a request to the last byte of its response; half-close before the close.";

const IDLE: &str = "\
Connections that had an answer and then send nothing. All must be ended in an orderly way within \
the limit; the time of the last end is in the table. It finds servers that wait for their \
clients to leave, or without any bound (F20, F28), and those that look at the stop only every so \
often (F33: the last end comes late). Cure: wait for input and for the stop at the same time.";

const SILENT: &str = "\
Connections that were opened and never sent a byte, as browsers and load balancers do. All must \
be ended in an orderly way within the limit. It finds servers that take a new connection for a \
busy one (F20), and polling (F33). Cure: a connection is idle until its first byte.";

const STUBBORN: &str = "\
Clients that neither read nor close: some leave the server stuck in a write, some keep a \
connection open for ever. The server must end within the limit all the same. It finds servers \
without a deadline (F28), and a lingering close without a cap (F22). Cure: one budget for the \
whole stop, after which what is left is aborted and counted.";

const SECOND_SIGNAL: &str = "\
The same stubborn clients; the signal is sent twice, and after the second one the server must be \
gone within five seconds. It finds servers that ignore a second signal, so that only SIGKILL is \
left to an operator in a hurry, or that crash on it (F38). Cure: the second signal escalates and \
does nothing else.";

const FLOOD: &str = "\
Clients connect anew again and again, also while the server drains. The stop must end all the \
same. It finds servers that sweep their accept queue without a bound, so that a flood keeps them \
from stopping, and those that go on to accept while they drain (F9). Cure: bound the sweep by \
count and time, then close the listener. Connections that began after the signal may be refused \
or reset: they are in the reset column, and do not count as lost.";

const DESCRIPTORS: &str = "\
The server's descriptor limit is lowered until it cannot accept, then raised again, and then the \
signal comes. Those who waited must be served, and the stop must end. It finds accept loops that \
end on an error of accept, and those that spin on it, by the processor time that they take while \
nothing can be done (F7). Cure: on errors of resources wait a little, longer each time, and stay \
able to stop. Linux only.";

const EXIT: &str = "\
A stop with nobody connected. The exit status must be 0, no process of the group may be left, \
and the port must be free again. It finds servers that report a clean stop as a failure, or die \
of the signal, and listeners that live on in a child (F6). Cure: catch the signal before the \
first accept, return from main, open sockets with CLOEXEC and wait for children.";
